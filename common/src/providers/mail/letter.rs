//! What mails say, in French and English.

use crate::domain::Language;

/// A letter with a link.
///
/// Those that anybody can have sent to any address hold no words of a user's: they would carry anybody's advertisement.
#[derive(Clone, Copy, Debug)]
pub enum Letter<'a> {
    /// Asks to confirm an address.
    VerifyEmail {
        /// Confirms it.
        link: &'a str,
    },
    /// Helps who forgot their password.
    ResetPassword {
        /// Takes a new one.
        link: &'a str,
    },
    /// Asks to become a member.
    Invitation {
        /// Of this business.
        business: &'a str,
        /// By whom; `None`: nobody in particular.
        by: Option<&'a str>,
        /// Accepts.
        link: &'a str,
    },
}

impl Letter<'_> {
    /// Subject and text.
    pub fn write(&self, language: Language) -> (String, String) {
        match language {
            Language::French => self.in_french(),
            Language::English => self.in_english(),
        }
    }

    fn in_french(&self) -> (String, String) {
        match self {
            Self::VerifyEmail { link } => (
                "Confirmez votre adresse".to_owned(),
                format!(
                    "Bonjour,\n\nConfirmez que cette adresse est la vôtre :\n\n{link}\n\nLe lien vaut 24 heures. Si vous n'avez \
                     rien demandé, ignorez ce message.\n"
                ),
            ),
            Self::ResetPassword { link } => (
                "Votre mot de passe".to_owned(),
                format!(
                    "Bonjour,\n\nChoisissez un nouveau mot de passe :\n\n{link}\n\nLe lien vaut 30 minutes et ne sert qu'une fois. \
                     Si vous n'avez rien demandé, ignorez ce message : votre mot de passe reste le même.\n"
                ),
            ),
            Self::Invitation { business, by, link } => {
                let invited = match by {
                    Some(by) => format!("{by} vous invite"),
                    None => "Vous êtes invité(e)".to_owned(),
                };
                (
                    format!("Invitation : {business}"),
                    format!(
                        "Bonjour,\n\n{invited} à rejoindre « {business} » sur Relais :\n\n{link}\n\nLe lien vaut 7 jours. Si vous \
                         ne connaissez pas l'expéditeur, ignorez ce message.\n"
                    ),
                )
            }
        }
    }

    fn in_english(&self) -> (String, String) {
        match self {
            Self::VerifyEmail { link } => (
                "Confirm your address".to_owned(),
                format!(
                    "Hello,\n\nConfirm that this address is yours:\n\n{link}\n\nThe link works for 24 hours. If you did not ask \
                     for this, ignore this message.\n"
                ),
            ),
            Self::ResetPassword { link } => (
                "Your password".to_owned(),
                format!(
                    "Hello,\n\nChoose a new password:\n\n{link}\n\nThe link works for 30 minutes, and once. If you did not ask for \
                     this, ignore this message: your password stays as it is.\n"
                ),
            ),
            Self::Invitation { business, by, link } => {
                let invited = match by {
                    Some(by) => format!("{by} invites you"),
                    None => "You are invited".to_owned(),
                };
                (
                    format!("Invitation: {business}"),
                    format!(
                        "Hello,\n\n{invited} to join “{business}” on Relais:\n\n{link}\n\nThe link works for 7 days. If you do not \
                         know who sent this, ignore this message.\n"
                    ),
                )
            }
        }
    }
}

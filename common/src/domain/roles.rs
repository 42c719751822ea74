//! Who may do what: roles on the platform and in a business, and the permissions they hold.

/// A user's role on the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Anybody who signed up.
    User,
    /// Helps users: finds them and acts for them.
    Support,
    /// Runs the platform.
    Admin,
    /// A machine.
    Service,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::User, Self::Support, Self::Admin, Self::Service];

    /// As it is stored and told.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Support => "support",
            Self::Admin => "admin",
            Self::Service => "service",
        }
    }

    /// By [`Self::name`].
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Whether it holds `permission`, of those on the platform.
    pub fn holds(self, permission: Permission) -> bool {
        match permission.holder() {
            Holder::Staff => matches!(self, Self::Support | Self::Admin),
            Holder::PlatformAdmin => self == Self::Admin,
            Holder::Member(_) => false,
        }
    }
}

/// A user's role in a business. Later ones hold all that earlier ones do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberRole {
    /// Works with it.
    Member,
    /// Runs it.
    Admin,
    /// Owns it.
    Owner,
}

impl MemberRole {
    /// Every role, the least first.
    pub const ALL: [Self; 3] = [Self::Member, Self::Admin, Self::Owner];

    /// As it is stored and told.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// By [`Self::name`].
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Whether it holds `permission`, of those in a business.
    pub fn holds(self, permission: Permission) -> bool {
        matches!(permission.holder(), Holder::Member(least) if self >= least)
    }
}

/// The least that holds a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A member of the business, of this role or a higher one.
    Member(MemberRole),
    /// Support or an admin of the platform.
    Staff,
    /// An admin of the platform.
    PlatformAdmin,
}

/// How far a permission reaches for those who are not the user in person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// API keys may have it as a scope, and who acts for a user has it.
    Delegable,
    /// API keys may have it; who acts for a user does not: it is of credentials or payments.
    ApiKeys,
    /// Only the user in person.
    InPerson,
}

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $holder:expr, $reach:ident;)*) => {
        /// What an operation asks of its caller. Its name is also an API key's scope.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Permission {
            $($(#[$doc])* $name,)*
        }

        impl Permission {
            /// Every permission.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// As it is told: `<what>:<deed>`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The least role that holds it.
            pub const fn holder(self) -> Holder {
                match self { $(Self::$name => $holder,)* }
            }

            /// Who else may have it.
            pub const fn reach(self) -> Reach {
                match self { $(Self::$name => Reach::$reach,)* }
            }
        }
    };
}

const MEMBER: Holder = Holder::Member(MemberRole::Member);
const ADMIN: Holder = Holder::Member(MemberRole::Admin);
const OWNER: Holder = Holder::Member(MemberRole::Owner);

permissions! {
    /// See chats, messages, contacts and characters.
    ReadConversations = "conversations:read", MEMBER, Delegable;
    /// See documents.
    ReadDocuments = "documents:read", MEMBER, Delegable;
    /// Upload and delete documents.
    WriteDocuments = "documents:write", MEMBER, Delegable;
    /// Ask questions and search.
    Ask = "questions:ask", MEMBER, Delegable;
    /// See jobs.
    ReadJobs = "jobs:read", MEMBER, Delegable;
    /// See the business.
    ReadBusiness = "business:read", MEMBER, Delegable;
    /// Change the business and its stage.
    WriteBusiness = "business:write", ADMIN, Delegable;
    /// Delete the business.
    DeleteBusiness = "business:delete", OWNER, InPerson;
    /// Keep the business after all, while it is being deleted: the one thing that works then.
    RestoreBusiness = "business:restore", OWNER, InPerson;
    /// Leave the business.
    LeaveBusiness = "business:leave", MEMBER, InPerson;
    /// See who is a member.
    ReadMembers = "members:read", MEMBER, Delegable;
    /// Invite, change and remove members.
    WriteMembers = "members:write", ADMIN, InPerson;
    /// See the settings.
    ReadSettings = "settings:read", ADMIN, Delegable;
    /// Change the settings and their secrets.
    WriteSettings = "settings:write", ADMIN, ApiKeys;
    /// See API keys.
    ReadApiKeys = "api_keys:read", ADMIN, Delegable;
    /// Make, rotate and revoke API keys.
    WriteApiKeys = "api_keys:write", ADMIN, InPerson;
    /// See the audit log.
    ReadAudit = "audit:read", ADMIN, ApiKeys;
    /// Find users of the platform.
    ReadUsers = "users:read", Holder::Staff, InPerson;
    /// Act for a user.
    Impersonate = "users:impersonate", Holder::Staff, InPerson;
    /// Change a user's role, deactivate and reactivate.
    WriteUsers = "users:write", Holder::PlatformAdmin, InPerson;
    /// See the platform's audit log.
    ReadPlatformAudit = "platform_audit:read", Holder::PlatformAdmin, InPerson;
}

impl Permission {
    /// By [`Self::name`].
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|permission| permission.name() == name)
    }

    /// Whether it is of a business, as opposed to the platform.
    pub const fn is_of_business(self) -> bool {
        matches!(self.holder(), Holder::Member(_))
    }

    /// Whether an API key may have it.
    pub const fn suits_api_keys(self) -> bool {
        self.is_of_business() && matches!(self.reach(), Reach::Delegable | Reach::ApiKeys)
    }

    /// Whether who acts for a user has it.
    pub const fn suits_impersonation(self) -> bool {
        self.is_of_business() && matches!(self.reach(), Reach::Delegable)
    }
}

/// What an API key may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scopes {
    /// Everything a key can: `*`.
    All,
    /// These.
    Only(Vec<Permission>),
}

impl Scopes {
    /// As they are stored: names unknown to this version are left out, which takes rights away and gives none.
    pub fn of_names(names: &[String]) -> Self {
        if names.iter().any(|name| name == "*") {
            return Self::All;
        }
        Self::Only(
            names
                .iter()
                .filter_map(|name| Permission::of_name(name))
                .collect(),
        )
    }

    /// Every permission they hold.
    pub fn permissions(&self) -> impl Iterator<Item = Permission> {
        Permission::ALL
            .iter()
            .copied()
            .filter(|permission| self.hold(*permission))
    }

    /// Whether they hold `permission`.
    pub fn hold(&self, permission: Permission) -> bool {
        let named = match self {
            Self::All => true,
            Self::Only(permissions) => permissions.contains(&permission),
        };
        named && permission.suits_api_keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_role_holds_all_that_a_lower_one_does() {
        for permission in Permission::ALL {
            if MemberRole::Member.holds(*permission) {
                assert!(MemberRole::Admin.holds(*permission));
            }
            assert_eq!(
                MemberRole::Owner.holds(*permission),
                permission.is_of_business()
            );
            assert_eq!(Role::Admin.holds(*permission), !permission.is_of_business());
        }
    }

    #[test]
    fn credentials_are_beyond_api_keys_and_beyond_those_who_act_for_another() {
        for permission in [
            Permission::WriteApiKeys,
            Permission::WriteMembers,
            Permission::DeleteBusiness,
        ] {
            assert!(!Scopes::All.hold(permission));
            assert!(!permission.suits_impersonation());
        }
        assert!(!Permission::WriteSettings.suits_impersonation());
    }

    #[test]
    fn a_scope_of_another_version_gives_nothing() {
        let scopes = Scopes::of_names(&["jobs:read".to_owned(), "moon:land".to_owned()]);
        assert_eq!(scopes, Scopes::Only(vec![Permission::ReadJobs]));
    }
}

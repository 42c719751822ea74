//! What a business is: its stage, its industry, its currency, and what it says of itself.

use serde::{Deserialize, Serialize};

/// How far a business is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// One person's own, made with their account.
    Personal,
    /// Not at work yet.
    Idea,
    /// At work.
    Established,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 3] = [Self::Personal, Self::Idea, Self::Established];

    /// As it is stored and told.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Personal => "personal",
            Self::Idea => "idea",
            Self::Established => "established",
        }
    }

    /// By [`Self::name`].
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == name)
    }

    /// Whether it may be followed by `next`: an idea becomes established and back; nothing becomes personal again.
    pub fn may_become(self, next: Self) -> bool {
        next != Self::Personal || self == Self::Personal
    }
}

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
        }

        impl $name {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// As it is stored and told.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// By [`Self::name`].
            pub fn of_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name() == name)
            }
        }
    };
}

names! {
    /// What a business works in.
    Industry {
        Agriculture = "agriculture",
        Automotive = "automotive",
        Beauty = "beauty",
        Construction = "construction",
        Consulting = "consulting",
        ECommerce = "e_commerce",
        Education = "education",
        Energy = "energy",
        Entertainment = "entertainment",
        Fashion = "fashion",
        FinancialServices = "financial_services",
        FoodAndBeverage = "food_and_beverage",
        Health = "health",
        Hospitality = "hospitality",
        Legal = "legal",
        Logistics = "logistics",
        Manufacturing = "manufacturing",
        Marketing = "marketing",
        Media = "media",
        NonProfit = "non_profit",
        PublicSector = "public_sector",
        RealEstate = "real_estate",
        Retail = "retail",
        Software = "software",
        Sports = "sports",
        Telecommunications = "telecommunications",
        Travel = "travel",
        Other = "other",
    }
}

names! {
    /// What to do with a delivery whose outcome is unknown: send it again, or not.
    DeliveryPolicy {
        AtLeastOnce = "at_least_once",
        AtMostOnce = "at_most_once",
    }
}

/// The currencies of ISO 4217 that people pay with.
const CURRENCIES: &str = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD \
    CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF \
    IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP \
    MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK \
    SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XOF \
    XPF YER ZAR ZMW ZWG";

/// A currency of ISO 4217, such as `EUR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Currency(&'static str);

impl Currency {
    /// Its code.
    pub const fn code(self) -> &'static str {
        self.0
    }

    /// Every one.
    pub fn all() -> impl Iterator<Item = Self> {
        CURRENCIES.split_ascii_whitespace().map(Self)
    }

    /// By its code, in capitals.
    pub fn of_code(code: &str) -> Option<Self> {
        Self::all().find(|currency| currency.0 == code)
    }
}

/// Somebody who works there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeamMember {
    /// Who.
    pub name: String,
    /// As what; `None`: not said.
    pub role: Option<String>,
}

/// Something a business owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asset {
    /// What.
    pub name: String,
    /// What it is worth, in minor units of the business's currency; `None`: not said.
    pub value: Option<i64>,
}

/// What a business says of its money, in minor units of its currency; `None`: not said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Finances {
    /// A year's revenue.
    pub annual_revenue: Option<i64>,
    /// A month's revenue.
    pub monthly_revenue: Option<i64>,
    /// A month's expenses.
    pub monthly_expenses: Option<i64>,
    /// What it has at hand.
    pub cash_balance: Option<i64>,
    /// What it owes.
    pub debt: Option<i64>,
    /// What investors gave it so far.
    pub funding_raised: Option<i64>,
    /// What it looks for.
    pub funding_goal: Option<i64>,
}

/// Whether `name` is a time zone of the IANA database, such as `Europe/Paris`.
pub fn is_time_zone(name: &str) -> bool {
    name.parse::<chrono_tz::Tz>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_becomes_personal_again() {
        assert!(Stage::Personal.may_become(Stage::Idea));
        assert!(Stage::Idea.may_become(Stage::Established));
        assert!(Stage::Established.may_become(Stage::Idea));
        assert!(!Stage::Idea.may_become(Stage::Personal));
        assert!(!Stage::Established.may_become(Stage::Personal));
    }

    #[test]
    fn currencies_and_time_zones_are_those_of_their_standards() {
        assert_eq!(Currency::of_code("EUR").map(Currency::code), Some("EUR"));
        for wrong in ["", "eur", "EU", "EUR USD", "XXX"] {
            assert_eq!(Currency::of_code(wrong), None, "{wrong}");
        }
        assert!(is_time_zone("Europe/Paris") && is_time_zone("UTC"));
        assert!(!is_time_zone("Paris") && !is_time_zone("+02:00") && !is_time_zone(""));
    }
}

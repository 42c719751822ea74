//! What is told of a business, and what may be said of it.

use chrono::{DateTime, Utc};
use common::database::businesses::profile::Business;
use common::domain::business::{self, Asset, Finances, TeamMember};
use common::domain::{BusinessId, Currency, Industry, MemberRole, Stage};
use poem_openapi::Object;
use poem_openapi::types::MaybeUndefined;
use serde::Deserialize;
use sqlx::types::Json;
use uuid::Uuid;

use crate::api::change::{change, uncleared};
use crate::api::named::Named;
use crate::api::text::{line, lines};
use crate::error::ApiError;

const LONGEST_NAME: usize = 120;
const LONGEST_DESCRIPTION: usize = 5_000;
const LONGEST_LOCATION: usize = 200;
const MOST_PEOPLE: usize = 100;
const MOST_ASSETS: usize = 100;

/// Minor units: more than any business has, less than makes sums of them overflow.
const HIGHEST_AMOUNT: i64 = 1_000_000_000_000_000;

/// A business.
#[derive(Debug, Object)]
#[oai(rename = "Business")]
pub(super) struct BusinessResponse {
    id: Uuid,
    name: String,
    stage: Named<Stage>,
    /// What it may use: the name of a plan.
    plan: String,
    industry: Option<Named<Industry>>,
    description: Option<String>,
    team: Vec<TeamMemberObject>,
    finances: FinancesObject,
    assets: Vec<AssetObject>,
    location: Option<String>,
    currency: Named<Currency>,
    time_zone: String,
    /// The caller's; null: an API key.
    role: Option<Named<MemberRole>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    /// Since when nothing works for it but its restoration; null: it lives.
    deletion_requested_at: Option<DateTime<Utc>>,
    /// Until when it can be restored; null: it lives.
    erase_after: Option<DateTime<Utc>>,
}

/// Somebody who works there.
#[derive(Debug, Object, Deserialize)]
#[oai(rename = "TeamMember", deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct TeamMemberObject {
    #[oai(validator(min_length = 1, max_length = 120))]
    name: String,
    #[oai(validator(min_length = 1, max_length = 120))]
    role: Option<String>,
}

/// Something the business owns.
#[derive(Debug, Object, Deserialize)]
#[oai(rename = "Asset", deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct AssetObject {
    #[oai(validator(min_length = 1, max_length = 120))]
    name: String,
    /// What it is worth, in minor units of the business's currency.
    #[oai(validator(minimum(value = "0"), maximum(value = "1000000000000000")))]
    value: Option<i64>,
}

/// The business's money, in minor units of its currency.
#[derive(Debug, Object, Deserialize)]
#[oai(rename = "Finances", deny_unknown_fields)]
#[serde(deny_unknown_fields)]
struct FinancesObject {
    #[oai(validator(minimum(value = "0"), maximum(value = "1000000000000000")))]
    annual_revenue: Option<i64>,
    #[oai(validator(minimum(value = "0"), maximum(value = "1000000000000000")))]
    monthly_revenue: Option<i64>,
    #[oai(validator(minimum(value = "0"), maximum(value = "1000000000000000")))]
    monthly_expenses: Option<i64>,
    /// What it has at hand.
    #[oai(validator(minimum(value = "0"), maximum(value = "1000000000000000")))]
    cash_balance: Option<i64>,
    /// What it owes.
    #[oai(validator(minimum(value = "0"), maximum(value = "1000000000000000")))]
    debt: Option<i64>,
    /// What investors gave it so far.
    #[oai(validator(minimum(value = "0"), maximum(value = "1000000000000000")))]
    funding_raised: Option<i64>,
    /// What it looks for.
    #[oai(validator(minimum(value = "0"), maximum(value = "1000000000000000")))]
    funding_goal: Option<i64>,
}

/// A business to be created.
#[derive(Debug, Object, Deserialize)]
#[oai(rename = "CreateBusiness", deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateBusinessRequest {
    #[oai(validator(min_length = 1, max_length = 120))]
    pub(super) name: String,
    /// `idea` by default, or `established`.
    pub(super) stage: Option<Named<Stage>>,
    industry: Option<Named<Industry>>,
    #[oai(validator(min_length = 1, max_length = 5000))]
    description: Option<String>,
    #[oai(validator(max_items = 100))]
    team: Option<Vec<TeamMemberObject>>,
    finances: Option<FinancesObject>,
    #[oai(validator(max_items = 100))]
    assets: Option<Vec<AssetObject>>,
    #[oai(validator(min_length = 1, max_length = 200))]
    location: Option<String>,
    /// `EUR` by default.
    currency: Option<Named<Currency>>,
    /// Of the IANA database; `Europe/Paris` by default.
    #[oai(validator(min_length = 1, max_length = 64))]
    time_zone: Option<String>,
    /// In which its assistant answers where nothing else says; `fr` by default.
    pub(super) language: Option<Named<common::domain::Language>>,
}

/// What is to change: what is absent stays, what is null is cleared.
#[derive(Debug, Default, Object, Deserialize)]
#[oai(rename = "UpdateBusiness", deny_unknown_fields)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UpdateBusinessRequest {
    #[oai(validator(min_length = 1, max_length = 120))]
    name: MaybeUndefined<String>,
    industry: MaybeUndefined<Named<Industry>>,
    #[oai(validator(min_length = 1, max_length = 5000))]
    description: MaybeUndefined<String>,
    #[oai(validator(max_items = 100))]
    team: MaybeUndefined<Vec<TeamMemberObject>>,
    /// Replaced as a whole.
    finances: MaybeUndefined<FinancesObject>,
    #[oai(validator(max_items = 100))]
    assets: MaybeUndefined<Vec<AssetObject>>,
    #[oai(validator(min_length = 1, max_length = 200))]
    location: MaybeUndefined<String>,
    currency: MaybeUndefined<Named<Currency>>,
    /// Of the IANA database.
    #[oai(validator(min_length = 1, max_length = 64))]
    time_zone: MaybeUndefined<String>,
}

impl BusinessResponse {
    /// `role` is the caller's.
    pub(super) fn new(business: Business, role: Option<MemberRole>) -> Result<Self, common::Error> {
        let industry = business.industry.as_deref();
        Ok(Self {
            id: business.id.0,
            name: business.name,
            stage: Named::stored(&business.stage)?,
            plan: business.plan,
            industry: industry.map(Named::stored).transpose()?,
            description: business.description,
            team: business.team.0.into_iter().map(Into::into).collect(),
            finances: business.finances.0.into(),
            assets: business.assets.0.into_iter().map(Into::into).collect(),
            location: business.location,
            currency: Named::stored(&business.currency)?,
            time_zone: business.time_zone,
            role: role.map(Named),
            created_at: business.created_at,
            updated_at: business.updated_at,
            deletion_requested_at: business.deletion_requested_at,
            erase_after: business.erase_after,
        })
    }
}

impl CreateBusinessRequest {
    /// The business it asks for.
    pub(super) fn business(self, now: DateTime<Utc>) -> Result<Business, ApiError> {
        let stage = self.stage.map_or(Stage::Idea, |stage| stage.0);
        if stage == Stage::Personal {
            let reason = "a personal business is made with its user's account, and in no other way";
            return Err(ApiError::not_possible(reason));
        }
        let mut business = Business {
            id: BusinessId::new(),
            name: String::new(),
            stage: stage.name().to_owned(),
            plan: "free".to_owned(),
            industry: None,
            description: None,
            team: Json(Vec::new()),
            finances: Json(Finances::default()),
            assets: Json(Vec::new()),
            location: None,
            currency: "EUR".to_owned(),
            time_zone: "Europe/Paris".to_owned(),
            created_at: now,
            updated_at: now,
            deletion_requested_at: None,
            erase_after: None,
        };
        let said = UpdateBusinessRequest {
            name: MaybeUndefined::Value(self.name),
            industry: said(self.industry),
            description: said(self.description),
            team: said(self.team),
            finances: said(self.finances),
            assets: said(self.assets),
            location: said(self.location),
            currency: said(self.currency),
            time_zone: said(self.time_zone),
        };
        said.apply(&mut business)?;
        Ok(business)
    }
}

fn said<T>(value: Option<T>) -> MaybeUndefined<T> {
    value.map_or(MaybeUndefined::Undefined, MaybeUndefined::Value)
}

impl UpdateBusinessRequest {
    /// Changes `business`; answers the names of the fields it was told of.
    pub(super) fn apply(self, business: &mut Business) -> Result<Vec<&'static str>, ApiError> {
        let mut told = Vec::new();
        let mut tell = |field| told.push(field);
        if let Some(name) = uncleared("name", self.name)? {
            business.name = line("name", &name, LONGEST_NAME)?;
            tell("name");
        }
        let name = |industry: Named<Industry>| Ok(industry.0.name().to_owned());
        if change(&mut business.industry, self.industry, name)? {
            tell("industry");
        }
        let check = |value: String| lines("description", &value, LONGEST_DESCRIPTION);
        if change(&mut business.description, self.description, check)? {
            tell("description");
        }
        let mut people = None;
        if change(&mut people, self.team, team)? {
            business.team = Json(people.unwrap_or_default());
            tell("team");
        }
        let mut money = None;
        if change(&mut money, self.finances, |said| finances(&said))? {
            business.finances = Json(money.unwrap_or_default());
            tell("finances");
        }
        let mut owned = None;
        if change(&mut owned, self.assets, assets)? {
            business.assets = Json(owned.unwrap_or_default());
            tell("assets");
        }
        let check = |value: String| line("location", &value, LONGEST_LOCATION);
        if change(&mut business.location, self.location, check)? {
            tell("location");
        }
        if let Some(currency) = uncleared("currency", self.currency)? {
            currency.0.code().clone_into(&mut business.currency);
            tell("currency");
        }
        if let Some(time_zone) = uncleared("time_zone", self.time_zone)? {
            if !business::is_time_zone(&time_zone) {
                let reason = "is no time zone of the IANA database";
                return Err(ApiError::invalid("time_zone", reason));
            }
            business.time_zone = time_zone;
            tell("time_zone");
        }
        Ok(told)
    }
}

fn team(people: Vec<TeamMemberObject>) -> Result<Vec<TeamMember>, ApiError> {
    if people.len() > MOST_PEOPLE {
        return Err(ApiError::invalid("team", format!("at most {MOST_PEOPLE}")));
    }
    let people = people.into_iter().map(|person| {
        let role = person.role.as_deref();
        Ok(TeamMember {
            name: line("team.name", &person.name, LONGEST_NAME)?,
            role: role
                .map(|role| line("team.role", role, LONGEST_NAME))
                .transpose()?,
        })
    });
    people.collect()
}

fn assets(assets: Vec<AssetObject>) -> Result<Vec<Asset>, ApiError> {
    if assets.len() > MOST_ASSETS {
        return Err(ApiError::invalid(
            "assets",
            format!("at most {MOST_ASSETS}"),
        ));
    }
    let assets = assets.into_iter().map(|asset| {
        Ok(Asset {
            name: line("assets.name", &asset.name, LONGEST_NAME)?,
            value: amount("assets.value", asset.value)?,
        })
    });
    assets.collect()
}

fn finances(said: &FinancesObject) -> Result<Finances, ApiError> {
    Ok(Finances {
        annual_revenue: amount("finances.annual_revenue", said.annual_revenue)?,
        monthly_revenue: amount("finances.monthly_revenue", said.monthly_revenue)?,
        monthly_expenses: amount("finances.monthly_expenses", said.monthly_expenses)?,
        cash_balance: amount("finances.cash_balance", said.cash_balance)?,
        debt: amount("finances.debt", said.debt)?,
        funding_raised: amount("finances.funding_raised", said.funding_raised)?,
        funding_goal: amount("finances.funding_goal", said.funding_goal)?,
    })
}

fn amount(field: &str, amount: Option<i64>) -> Result<Option<i64>, ApiError> {
    match amount {
        Some(amount) if !(0..=HIGHEST_AMOUNT).contains(&amount) => {
            let reason = format!("from 0 to {HIGHEST_AMOUNT}, in minor units");
            Err(ApiError::invalid(field, reason))
        }
        amount => Ok(amount),
    }
}

impl From<TeamMember> for TeamMemberObject {
    fn from(person: TeamMember) -> Self {
        Self {
            name: person.name,
            role: person.role,
        }
    }
}

impl From<Asset> for AssetObject {
    fn from(asset: Asset) -> Self {
        Self {
            name: asset.name,
            value: asset.value,
        }
    }
}

impl From<Finances> for FinancesObject {
    fn from(finances: Finances) -> Self {
        Self {
            annual_revenue: finances.annual_revenue,
            monthly_revenue: finances.monthly_revenue,
            monthly_expenses: finances.monthly_expenses,
            cash_balance: finances.cash_balance,
            debt: finances.debt,
            funding_raised: finances.funding_raised,
            funding_goal: finances.funding_goal,
        }
    }
}

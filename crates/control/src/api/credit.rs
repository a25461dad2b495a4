//! Operations on prepaid credit.

use axum::{Json, extract::State};
use claviger_domain::{
    credit::{Entry, Place},
    id::{CreditAccountId, CreditEntryId},
    money::{PicoUsd, usd_text},
    operator::verb::Verb,
};
use claviger_service::{
    ServiceError,
    credit::{Account, AccountProof, Booked, CreditWish, Proof, Words},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    budgets::{WhoseBudget, subject},
    page::Page,
    time::Moment,
};
use crate::{
    answer::Created,
    extract::{Body, Operator, Paging, Path},
    operation::{Operation, get, post},
    problem::Problem,
    state::ControlState,
};

/// Everything that is done with credit.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        post(
            Verb::CreditOpen,
            "/credit/accounts",
            "Open an account: its subject spends what is paid in",
            open,
        ),
        get(Verb::CreditList, "/credit/accounts", "List accounts and how they stand", list),
        get(Verb::CreditShow, "/credit/accounts/{id}", "Show an account and how it stands", show),
        get(
            Verb::CreditStatement,
            "/credit/accounts/{id}/entries",
            "List the entries of an account, the oldest first; what calls have cost is booked before",
            statement,
        ),
        post(Verb::CreditTopUp, "/credit/accounts/{id}/top-up", "Book a payment", top_up),
        post(Verb::CreditHold, "/credit/accounts/{id}/hold", "Set an amount aside", hold),
        post(
            Verb::CreditRelease,
            "/credit/accounts/{id}/release",
            "Give back what was set aside, or a part of it",
            release,
        ),
        post(
            Verb::CreditCapture,
            "/credit/accounts/{id}/capture",
            "Take what was set aside, or a part of it",
            capture,
        ),
        post(
            Verb::CreditRefund,
            "/credit/accounts/{id}/refund",
            "Pay back what is left, or a part of it",
            refund,
        ),
        post(Verb::CreditAdjust, "/credit/accounts/{id}/adjust", "Correct an account", adjust),
        get(
            Verb::CreditVerify,
            "/credit/verify",
            "Prove that the book balances, and that what it books as spent is what calls have cost",
            verify,
        ),
    ]
}

/// An account. Amounts are pico-dollars (10⁻¹² $) in decimal strings.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CreditAccountView {
    /// Its id.
    pub id: String,
    /// Whose calls it pays for: `key`, `owner`, `workspace` or `all`.
    pub subject: String,
    /// The owner's or workspace's id; of a key, the first of its line; empty: all.
    pub subject_id: String,
    /// When it was opened.
    pub opened_at: Moment,
    /// How many entries it has.
    pub entries: i64,
    /// What was paid in and not paid back.
    pub paid_pusd: String,
    /// What is set aside.
    pub held_pusd: String,
    /// What was taken of what was set aside.
    pub captured_pusd: String,
    /// What corrections gave, less what they took.
    pub adjusted_pusd: String,
    /// What calls may come to in all: what was paid in, less what was paid back, set aside or taken.
    pub limit_pusd: String,
    /// What calls have cost.
    pub settled_pusd: String,
    /// What calls in flight, and batches that are not billed yet, hold back.
    pub reserved_pusd: String,
    /// What is left for calls.
    pub left_pusd: String,
    /// The same in dollars.
    pub left_usd: String,
}

impl From<Account> for CreditAccountView {
    fn from(Account { record, standing }: Account) -> Self {
        let balance = |place| record.balances.of(place);
        let limit = record.limit();
        let (settled, reserved) =
            standing.as_ref().map_or((balance(Place::Usage), 0), |s| (s.settled, s.reserved));
        let left = (limit - settled - reserved).max(0);
        Self {
            id: record.id.to_string(),
            subject: record.subject.kind().to_owned(),
            subject_id: record.subject.id().to_owned(),
            opened_at: Moment(record.opened_at),
            entries: record.entries,
            paid_pusd: (-balance(Place::Cash)).to_string(),
            held_pusd: balance(Place::Held).to_string(),
            captured_pusd: balance(Place::Captured).to_string(),
            adjusted_pusd: (-balance(Place::Adjustments)).to_string(),
            limit_pusd: limit.to_string(),
            settled_pusd: settled.to_string(),
            reserved_pusd: reserved.to_string(),
            left_pusd: left.to_string(),
            left_usd: usd_text(left),
        }
    }
}

/// An entry in the book: an amount that goes from one place to another.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CreditEntryView {
    /// Its id.
    pub id: String,
    /// Its number in the account, from 1.
    pub number: i64,
    /// When it was booked.
    pub at: Moment,
    /// `top_up`, `spend`, `hold`, `release`, `capture`, `refund`, `adjust_up` or `adjust_down`.
    pub kind: String,
    /// From where: `cash`, `available`, `held`, `usage`, `captured` or `adjustments`.
    pub from: String,
    /// To where.
    pub to: String,
    /// How much, in pico-dollars.
    pub amount_pusd: String,
    /// The same in dollars.
    pub amount_usd: String,
    /// What it stands for outside, such as a payment's id.
    pub reference: Option<String>,
    /// The entry that set aside what this one gives back or takes.
    pub hold: Option<String>,
    /// Why.
    pub note: String,
}

impl From<Entry> for CreditEntryView {
    fn from(entry: Entry) -> Self {
        let (from, to) = entry.kind.way();
        Self {
            id: entry.id.to_string(),
            number: entry.number,
            at: Moment(entry.at),
            kind: entry.kind.as_str().to_owned(),
            from: from.as_str().to_owned(),
            to: to.as_str().to_owned(),
            amount_pusd: entry.amount.to_string(),
            amount_usd: usd_text(i128::from(entry.amount.as_pico())),
            reference: entry.reference,
            hold: entry.hold.map(|hold| hold.to_string()),
            note: entry.note,
        }
    }
}

/// What was booked.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BookedView {
    /// The entry.
    pub entry: CreditEntryView,
    /// The account after it.
    pub account: CreditAccountView,
    /// It was booked before, under the same reference; nothing was booked now.
    pub replayed: bool,
}

impl From<Booked> for BookedView {
    fn from(booked: Booked) -> Self {
        let Booked { account, entry, replayed } = booked;
        Self { entry: entry.into(), account: account.into(), replayed }
    }
}

/// Body of `POST /admin/v1/credit/accounts`: exactly one of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OpenCredit {
    /// A key, by id; its children, and those that it is rotated to, spend from it, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// All keys of an owner, by id or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// All keys of a workspace, by id or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// Everything that goes through this installation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
}

/// Body of what pays in, pays back or sets aside.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BookCredit {
    /// How much, in dollars, a plain decimal such as `12.50`.
    pub usd: String,
    /// What it stands for outside, such as a payment's id: booked once, however often it is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Why; at most 500 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Body of what gives back or takes what was set aside.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EndHold {
    /// The entry that set it aside.
    pub hold: String,
    /// How much, in dollars; absent: all that is left of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd: Option<String>,
    /// What it stands for outside: booked once, however often it is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Why; at most 500 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Body of a correction.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdjustCredit {
    /// How much, in dollars.
    pub usd: String,
    /// `up`: given; `down`: taken, also what is not there, such as for a payment that was charged back.
    pub direction: String,
    /// Why; at most 500 characters.
    pub note: String,
    /// What it stands for outside: booked once, however often it is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// What a look through one account's book has shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CreditProofView {
    /// The account.
    pub account: String,
    /// How many entries were looked at.
    pub entries: i64,
    /// What they book as spent, in pico-dollars.
    pub booked_pusd: String,
    /// What calls have cost by the totals.
    pub settled_pusd: String,
    /// What the ledger's rows come to; `null`: its oldest ones are not kept any more.
    pub ledger_pusd: Option<String>,
    /// What is wrong.
    pub faults: Vec<String>,
}

impl From<AccountProof> for CreditProofView {
    fn from(proof: AccountProof) -> Self {
        Self {
            account: proof.account.id.to_string(),
            entries: proof.account.entries,
            booked_pusd: proof.booked.to_string(),
            settled_pusd: proof.settled.to_string(),
            ledger_pusd: proof.ledger.map(|sum| sum.to_string()),
            faults: proof.faults,
        }
    }
}

/// What a look through the whole book has shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CreditVerdict {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// What all places of all accounts sum to: `0`.
    pub sum_pusd: String,
    /// Each account.
    pub accounts: Vec<CreditProofView>,
}

impl From<Proof> for CreditVerdict {
    fn from(proof: Proof) -> Self {
        Self {
            ok: proof.holds(),
            sum_pusd: proof.sum.to_string(),
            accounts: proof.accounts.into_iter().map(Into::into).collect(),
        }
    }
}

fn invalid(field: &'static str, why: impl ToString) -> Problem {
    ServiceError::Invalid { field, why: why.to_string() }.into()
}

fn account_id(id: &str) -> Result<CreditAccountId, Problem> {
    let missing = |_| ServiceError::NotFound { what: "credit account", id: id.chars().take(64).collect() };
    Ok(CreditAccountId::parse(id).map_err(missing)?)
}

fn amount(usd: &str) -> Result<PicoUsd, Problem> {
    PicoUsd::from_usd(usd).map_err(|error| invalid("usd", error))
}

/// `POST /admin/v1/credit/accounts`
pub async fn open(
    State(state): State<ControlState>,
    operator: Operator,
    Body(body): Body<OpenCredit>,
) -> Result<Created<CreditAccountView>, Problem> {
    let OpenCredit { key, owner, workspace, all } = body;
    let subject = subject(&state, &WhoseBudget { key, owner, workspace, all, per: None }).await?;
    Ok(Created(state.services.credit.open(subject, &operator.caller).await?.into()))
}

/// `GET /admin/v1/credit/accounts`
pub async fn list(
    State(state): State<ControlState>,
    _operator: Operator,
    paging: Paging,
) -> Result<Json<Page<CreditAccountView>>, Problem> {
    let rows = state.services.credit.list().await?;
    Page::cut(rows, &paging, |account| account.record.id.to_string()).map(Json)
}

/// `GET /admin/v1/credit/accounts/{id}`
pub async fn show(
    State(state): State<ControlState>,
    _operator: Operator,
    Path(id): Path<String>,
) -> Result<Json<CreditAccountView>, Problem> {
    Ok(Json(state.services.credit.show(&account_id(&id)?).await?.into()))
}

/// `GET /admin/v1/credit/accounts/{id}/entries`
pub async fn statement(
    State(state): State<ControlState>,
    _operator: Operator,
    Path(id): Path<String>,
    paging: Paging,
) -> Result<Json<Page<CreditEntryView>>, Problem> {
    let after = paging.after.as_deref().unwrap_or("0").parse::<i64>();
    let after = after.map_err(|_| invalid("after", "expected an entry's number"))?;
    let rows = state.services.credit.statement(&account_id(&id)?, after, paging.limit + 1).await?;
    Ok(Json(Page::of(rows, &paging, |entry: &Entry| entry.number.to_string())))
}

async fn book(
    (state, operator, id): (&ControlState, &Operator, &str),
    wish: CreditWish,
    reference: Option<String>,
    note: Option<String>,
) -> Result<Created<BookedView>, Problem> {
    let words = Words { reference, note: note.unwrap_or_default() };
    let booked = state.services.credit.book(&account_id(id)?, &wish, &words, &operator.caller).await?;
    Ok(Created(booked.into()))
}

/// `POST /admin/v1/credit/accounts/{id}/top-up`
pub async fn top_up(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
    Body(body): Body<BookCredit>,
) -> Result<Created<BookedView>, Problem> {
    let wish = CreditWish::TopUp(amount(&body.usd)?);
    book((&state, &operator, &id), wish, body.reference, body.note).await
}

/// `POST /admin/v1/credit/accounts/{id}/hold`
pub async fn hold(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
    Body(body): Body<BookCredit>,
) -> Result<Created<BookedView>, Problem> {
    let wish = CreditWish::Hold(amount(&body.usd)?);
    book((&state, &operator, &id), wish, body.reference, body.note).await
}

/// `POST /admin/v1/credit/accounts/{id}/refund`
pub async fn refund(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
    Body(body): Body<BookCredit>,
) -> Result<Created<BookedView>, Problem> {
    let wish = CreditWish::Refund(amount(&body.usd)?);
    book((&state, &operator, &id), wish, body.reference, body.note).await
}

fn hold_id(text: &str) -> Result<CreditEntryId, Problem> {
    CreditEntryId::parse(text).map_err(|error| invalid("hold", error))
}

/// `POST /admin/v1/credit/accounts/{id}/release`
pub async fn release(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
    Body(body): Body<EndHold>,
) -> Result<Created<BookedView>, Problem> {
    let part = body.usd.as_deref().map(amount).transpose()?;
    let wish = CreditWish::Release(hold_id(&body.hold)?, part);
    book((&state, &operator, &id), wish, body.reference, body.note).await
}

/// `POST /admin/v1/credit/accounts/{id}/capture`
pub async fn capture(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
    Body(body): Body<EndHold>,
) -> Result<Created<BookedView>, Problem> {
    let part = body.usd.as_deref().map(amount).transpose()?;
    let wish = CreditWish::Capture(hold_id(&body.hold)?, part);
    book((&state, &operator, &id), wish, body.reference, body.note).await
}

/// `POST /admin/v1/credit/accounts/{id}/adjust`
pub async fn adjust(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
    Body(body): Body<AdjustCredit>,
) -> Result<Created<BookedView>, Problem> {
    let amount = amount(&body.usd)?;
    let wish = match body.direction.as_str() {
        "up" => CreditWish::AdjustUp(amount),
        "down" => CreditWish::AdjustDown(amount),
        _ => return Err(invalid("direction", "expected up or down")),
    };
    if body.note.trim().is_empty() {
        return Err(invalid("note", "a correction says why"));
    }
    book((&state, &operator, &id), wish, body.reference, Some(body.note)).await
}

/// `GET /admin/v1/credit/verify`
pub async fn verify(
    State(state): State<ControlState>,
    _operator: Operator,
) -> Result<Json<CreditVerdict>, Problem> {
    Ok(Json(state.services.credit.verify().await?.into()))
}

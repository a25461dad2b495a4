//! `claviger credit …`

use clap::{Args, Subcommand};
use claviger_control::api::credit::{AdjustCredit, BookCredit, EndHold, OpenCredit};
use serde_json::Value;

use super::{
    Context,
    budget::WhoseArgs,
    client::{query, segment},
    output::{CliError, Columns},
};

const ACCOUNTS: &str = "/admin/v1/credit/accounts";

/// What can be done with prepaid credit.
#[derive(Debug, Subcommand)]
pub enum CreditCommand {
    /// Open an account for a key, an owner, a workspace or everything: it spends what is paid in
    Open(WhoseArgs),
    /// List all accounts and how they stand
    List,
    /// Show an account and how it stands
    Show(AccountArgs),
    /// Book a payment
    TopUp(AmountArgs),
    /// Set an amount aside: calls do not get it
    Hold(AmountArgs),
    /// Give back what was set aside, or a part of it
    Release(EndArgs),
    /// Take what was set aside, or a part of it
    Capture(EndArgs),
    /// Pay back what is left, or a part of it
    Refund(AmountArgs),
    /// Correct an account
    Adjust(AdjustArgs),
    /// List the entries of an account, the oldest first
    Statement(StatementArgs),
    /// Prove that the book balances, and that what it books as spent is what calls have cost
    Verify,
}

/// Which account.
#[derive(Debug, Args)]
pub struct AccountArgs {
    /// The account, by id
    #[arg(value_name = "ACCOUNT")]
    account: String,
}

/// What stands beside an amount.
#[derive(Debug, Args)]
pub struct WordsArgs {
    /// What it stands for outside, such as a payment's id: booked once, however often this is run
    #[arg(long, value_name = "TEXT")]
    reference: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// `credit top-up`, `credit hold`, `credit refund`
#[derive(Debug, Args)]
pub struct AmountArgs {
    #[command(flatten)]
    account: AccountArgs,
    /// How much, in dollars, such as 12.50
    #[arg(long, value_name = "AMOUNT")]
    usd: String,
    #[command(flatten)]
    words: WordsArgs,
}

/// `credit release`, `credit capture`
#[derive(Debug, Args)]
pub struct EndArgs {
    #[command(flatten)]
    account: AccountArgs,
    /// The entry that set it aside
    #[arg(long, value_name = "ENTRY")]
    hold: String,
    /// How much, in dollars [default: all that is left of it]
    #[arg(long, value_name = "AMOUNT")]
    usd: Option<String>,
    #[command(flatten)]
    words: WordsArgs,
}

/// `credit adjust`
#[derive(Debug, Args)]
pub struct AdjustArgs {
    #[command(flatten)]
    account: AccountArgs,
    /// Give so many dollars
    #[arg(long, value_name = "AMOUNT", required_unless_present = "down", conflicts_with = "down")]
    up: Option<String>,
    /// Take so many dollars, also if they are not there
    #[arg(long, value_name = "AMOUNT")]
    down: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    note: String,
    /// What it stands for outside: booked once, however often this is run
    #[arg(long, value_name = "TEXT")]
    reference: Option<String>,
}

/// `credit statement`
#[derive(Debug, Args)]
pub struct StatementArgs {
    #[command(flatten)]
    account: AccountArgs,
    /// Only entries after this number
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
}

const COLUMNS: Columns = &[
    ("ID", "id"),
    ("OF", "subject"),
    ("SUBJECT", "subject_id"),
    ("PAID p$", "paid_pusd"),
    ("HELD p$", "held_pusd"),
    ("SETTLED p$", "settled_pusd"),
    ("RESERVED p$", "reserved_pusd"),
    ("LEFT $", "left_usd"),
];
const ENTRIES: Columns = &[
    ("NO", "number"),
    ("TIME", "at"),
    ("KIND", "kind"),
    ("FROM", "from"),
    ("TO", "to"),
    ("AMOUNT $", "amount_usd"),
    ("REFERENCE", "reference"),
    ("ID", "id"),
    ("NOTE", "note"),
];
const PROOFS: Columns = &[
    ("ACCOUNT", "account"),
    ("ENTRIES", "entries"),
    ("BOOKED p$", "booked_pusd"),
    ("SETTLED p$", "settled_pusd"),
    ("LEDGER p$", "ledger_pusd"),
    ("FAULTS", "faults"),
];

/// Runs `claviger credit …`.
///
/// # Errors
/// [`CliError`]; a book that does not hold ends with exit code 5.
pub fn run(context: &Context, command: CreditCommand) -> Result<(), CliError> {
    let client = context.client()?;
    let out = &context.out;
    match command {
        CreditCommand::Open(whose) => {
            let WhoseArgs { key, owner, workspace, all } = whose;
            let body = OpenCredit { key, owner, workspace, all: all.then_some(true) };
            out.object(&client.post(ACCOUNTS, &body)?);
        }
        CreditCommand::List => out.rows(COLUMNS, &client.list(ACCOUNTS)?),
        CreditCommand::Show(args) => out.object(&client.get(&place(&args, ""))?),
        CreditCommand::TopUp(args) => pay(context, args, "/top-up")?,
        CreditCommand::Hold(args) => pay(context, args, "/hold")?,
        CreditCommand::Refund(args) => pay(context, args, "/refund")?,
        CreditCommand::Release(args) => end(context, args, "/release")?,
        CreditCommand::Capture(args) => end(context, args, "/capture")?,
        CreditCommand::Adjust(args) => {
            let AdjustArgs { account, up, down, note, reference } = args;
            let (direction, usd) = match (up, down) {
                (Some(usd), _) => ("up", usd),
                (None, down) => ("down", down.unwrap_or_default()),
            };
            let body = AdjustCredit { usd, direction: direction.to_owned(), note, reference };
            booked(context, &client.post(&place(&account, "/adjust"), &body)?);
        }
        CreditCommand::Statement(args) => {
            let after = query(&[("after", args.after.map(|n| n.to_string()))]);
            out.rows(ENTRIES, &client.list(&place(&args.account, &format!("/entries{after}")))?);
        }
        CreditCommand::Verify => verify(context, &client.get("/admin/v1/credit/verify")?)?,
    }
    Ok(())
}

fn place(account: &AccountArgs, rest: &str) -> String {
    format!("{ACCOUNTS}/{}{rest}", segment(&account.account))
}

fn pay(context: &Context, args: AmountArgs, what: &str) -> Result<(), CliError> {
    let AmountArgs { account, usd, words: WordsArgs { reference, note } } = args;
    let body = BookCredit { usd, reference, note };
    booked(context, &context.client()?.post(&place(&account, what), &body)?);
    Ok(())
}

fn end(context: &Context, args: EndArgs, what: &str) -> Result<(), CliError> {
    let EndArgs { account, hold, usd, words: WordsArgs { reference, note } } = args;
    let body = EndHold { hold, usd, reference, note };
    booked(context, &context.client()?.post(&place(&account, what), &body)?);
    Ok(())
}

/// The entry, and what is left.
fn booked(context: &Context, answer: &Value) {
    if context.out.json {
        return context.out.value(answer);
    }
    context.out.object(&answer["entry"]);
    let left = answer["account"]["left_usd"].as_str().unwrap_or("?");
    let before = if answer["replayed"] == Value::Bool(true) { " (booked before)" } else { "" };
    context.out.line(&format!("left: ${left}{before}"));
}

fn verify(context: &Context, verdict: &Value) -> Result<(), CliError> {
    if context.out.json {
        context.out.value(verdict);
    } else {
        context.out.rows(PROOFS, &verdict["accounts"]);
    }
    if verdict["ok"] == Value::Bool(true) {
        return Ok(());
    }
    Err(CliError::unproven("the book of prepaid credit does not hold: see its faults"))
}

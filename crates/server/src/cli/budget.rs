//! `claviger budget …`

use clap::{Args, Subcommand};
use claviger_control::api::budgets::SetBudget;
use serde_json::Value;

use super::{
    Context,
    client::query,
    output::{CliError, Columns},
};

/// What can be done with budgets.
#[derive(Debug, Subcommand)]
pub enum BudgetCommand {
    /// Set the ceiling of a key, an owner, a workspace or everything for a period, or change it
    Set(Box<SetArgs>),
    /// Show how the budgets of one of them stand
    Show(ShowArgs),
    /// List all budgets
    List,
    /// Drop a budget: it binds nobody any more
    Drop(DropArgs),
}

/// Whose budget.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct WhoseArgs {
    /// A key, by id; its children count against it, too
    #[arg(long, value_name = "ID")]
    pub(super) key: Option<String>,
    /// All keys of an owner, by id or name
    #[arg(long, value_name = "O")]
    pub(super) owner: Option<String>,
    /// All keys of a workspace, by id or name
    #[arg(long, value_name = "W")]
    pub(super) workspace: Option<String>,
    /// Everything that goes through this installation
    #[arg(long)]
    pub(super) all: bool,
}

/// `budget set`
#[derive(Debug, Args)]
pub struct SetArgs {
    #[command(flatten)]
    whose: WhoseArgs,
    /// The ceiling in dollars, such as 12.50
    #[arg(long, value_name = "AMOUNT")]
    usd: String,
    /// How long until it begins anew
    #[arg(long, value_name = "PERIOD", value_parser = ["day", "week", "month", "life"])]
    per: String,
    /// The time zone in which days, weeks and months begin [default: UTC]
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// Tell at 50, 75, 90, 95 and 100 %, but refuse nobody
    #[arg(long)]
    soft: bool,
    /// strict: the limit is never passed; expected: by a printed bound at most [default: strict]
    #[arg(long, value_name = "MODE", value_parser = ["strict", "expected"])]
    mode: Option<String>,
}

/// `budget show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    whose: WhoseArgs,
    /// Only the budget of this period
    #[arg(long, value_name = "PERIOD", value_parser = ["day", "week", "month", "life"])]
    per: Option<String>,
}

/// `budget drop`
#[derive(Debug, Args)]
pub struct DropArgs {
    #[command(flatten)]
    whose: WhoseArgs,
    /// The budget of this period
    #[arg(long, value_name = "PERIOD", value_parser = ["day", "week", "month", "life"])]
    per: String,
}

const COLUMNS: Columns = &[
    ("OF", "subject"),
    ("ID", "subject_id"),
    ("PER", "period"),
    ("TZ", "tz"),
    ("HARD", "hard"),
    ("MODE", "mode"),
    ("LIMIT $", "limit_usd"),
    ("SETTLED p$", "settled_pusd"),
    ("RESERVED p$", "reserved_pusd"),
    ("LEFT p$", "left_pusd"),
    ("RESETS", "resets_at"),
];

/// Runs `claviger budget …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: BudgetCommand) -> Result<(), CliError> {
    let client = context.client()?;
    match command {
        BudgetCommand::Set(args) => {
            context.out.object(&client.put("/admin/v1/budgets", &body(*args))?);
        }
        BudgetCommand::Show(args) => {
            let found = client.list(&place(args.whose, args.per))?;
            match found.as_array().map(Vec::as_slice) {
                Some([one]) => context.out.object(one),
                Some([]) | None => {
                    return Err(CliError::usage("there is no such budget: `claviger budget set`"));
                }
                Some(_) => context.out.rows(COLUMNS, &found),
            }
        }
        BudgetCommand::List => context.out.rows(COLUMNS, &client.list("/admin/v1/budgets")?),
        BudgetCommand::Drop(args) => {
            let dropped: Value = client.delete(&place(args.whose, Some(args.per)))?;
            context.out.object(&dropped);
        }
    }
    Ok(())
}

fn place(whose: WhoseArgs, per: Option<String>) -> String {
    let WhoseArgs { key, owner, workspace, all } = whose;
    let all = all.then(|| "true".to_owned());
    let parts = [("key", key), ("owner", owner), ("workspace", workspace), ("all", all), ("per", per)];
    format!("/admin/v1/budgets{}", query(&parts))
}

fn body(args: SetArgs) -> SetBudget {
    let SetArgs { whose, usd, per, tz, soft, mode } = args;
    let WhoseArgs { key, owner, workspace, all } = whose;
    SetBudget { key, owner, workspace, all: all.then_some(true), per, usd, tz, soft, mode }
}

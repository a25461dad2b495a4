//! `claviger apply`: what a file declares is compared with what is there, shown, and brought about.

mod declaration;
mod delivery;
mod plan;
mod present;
mod show;
mod steps;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use claviger_domain::clock::Clock as _;

use self::{
    declaration::Declared,
    delivery::Delivery,
    plan::{Action, Plan},
    present::Present,
    show::Outcome,
};
use super::{Context, ask, output::CliError};
use crate::clock::SystemClock;

/// `--plan` found something to do, or something waits for a second person.
const NOT_YET: u8 = 6;

/// `apply`
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The declaration, TOML
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    file: PathBuf,
    /// Only show what would change; exit code 6 when something would
    #[arg(long)]
    plan: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Revoke keys, archive owners and workspaces and take out channels that are not declared, of the kinds that the
    /// file declares
    #[arg(long)]
    prune: bool,
    /// Where the tokens go that unwrap the new keys, 0600 [default: the declaration's path and `.tokens`; with --json
    /// they are printed]
    #[arg(long, value_name = "FILE")]
    tokens_to: Option<PathBuf>,
}

/// Brings about what a file declares.
///
/// # Errors
/// [`CliError`]: before the first change when something is wrong with the declaration, else with how far it came.
pub fn run(context: &Context, args: &ApplyArgs) -> Result<ExitCode, CliError> {
    let declared = Declared::read(&args.file)?;
    let client = context.client()?;
    let present = Present::load(&client, &declared.all)?;
    let plan = Plan::make(&declared, &present, args.prune, SystemClock.now())?;
    show::plan(context, &plan);
    if plan.steps.is_empty() {
        context.out.line("Nothing to do.");
        return Ok(end(context, &plan, &[], ExitCode::SUCCESS));
    }
    context.out.line(&format!("{}.", show::summary(&plan)));
    if args.plan {
        return Ok(end(context, &plan, &[], ExitCode::from(NOT_YET)));
    }
    if !args.yes && !agreed(context, &plan)? {
        context.out.line("Nothing was changed.");
        return Ok(end(context, &plan, &[], ExitCode::from(NOT_YET)));
    }
    let mut delivery = delivery(context, args, &plan)?;
    let (outcomes, error) = steps::carry_out(context, &client, &plan, delivery.as_mut());
    if let Some(delivery) = delivery {
        tell(context, &delivery);
        delivery.close();
    }
    let waits = outcomes.iter().filter(|o| matches!(o, Outcome::Waits(_))).count();
    let code = if waits > 0 { ExitCode::from(NOT_YET) } else { ExitCode::SUCCESS };
    let code = end(context, &plan, &outcomes, code);
    let done = outcomes.iter().filter(|o| matches!(o, Outcome::Done(_))).count();
    let all = plan.steps.len();
    match error {
        Some(error) => {
            let message = format!(
                "{}. {done} of {all} changes are done; the same command goes on from there",
                error.message.trim_end_matches('.')
            );
            Err(CliError { message, ..error })
        }
        None if waits > 0 => {
            context.out.line(&format!("{done} of {all} changes are done, {waits} wait for a second person."));
            Ok(code)
        }
        None => {
            context.out.line(&format!("{done} changes are done."));
            Ok(code)
        }
    }
}

/// The last word to programs.
fn end(context: &Context, plan: &Plan, outcomes: &[Outcome], code: ExitCode) -> ExitCode {
    if context.out.json {
        context.out.value(&show::json(plan, outcomes));
    }
    code
}

fn agreed(context: &Context, plan: &Plan) -> Result<bool, CliError> {
    if context.out.json || !ask::is_possible() {
        return Err(CliError::usage(format!(
            "{}: nothing was changed; look with --plan, then say --yes",
            show::summary(plan)
        )));
    }
    let gone = plan.count(Action::Remove);
    let warning = if gone > 0 { format!(", {gone} of them for ever") } else { String::new() };
    let answer = ask::line(&format!("Make {} changes{warning}? [y/N]", plan.steps.len()), "--yes")?;
    Ok(matches!(answer.as_str(), "y" | "Y" | "yes"))
}

/// Where secrets go that are made on the way. Whether they can be written is known before anything is made.
fn delivery(context: &Context, args: &ApplyArgs, plan: &Plan) -> Result<Option<Delivery>, CliError> {
    if (context.out.json && args.tokens_to.is_none()) || !plan.makes_secrets() {
        return Ok(None);
    }
    let beside = || {
        let mut path = args.file.clone().into_os_string();
        path.push(".tokens");
        PathBuf::from(path)
    };
    Delivery::open(&args.tokens_to.clone().unwrap_or_else(beside)).map(Some)
}

fn tell(context: &Context, delivery: &Delivery) {
    let (added, path): (usize, &Path) = (delivery.added, delivery.path());
    if added > 0 {
        context.out.note(&format!(
            "{added} new secrets are in {}: hand each on once, then delete it. `claviger unwrap TOKEN` shows the key.",
            path.display()
        ));
    }
}

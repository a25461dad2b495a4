//! `claviger batch run`: many requests from a file, their answers in a file, in the same order.

mod board;
mod direct;
mod files;
mod input;
mod journal;
mod pace;
mod progress;
mod provider;
mod record;
mod verdict;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Subcommand};
use claviger_domain::clock::Entropy;
use http::HeaderValue;
use serde_json::{Value, json};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use self::{
    board::Board,
    direct::{Direct, Trying},
    files::{Files, Found, beside, forget},
    input::{Input, NAMED},
    journal::{Journal, JournalError, Portions},
    pace::{Pace, Stop},
    progress::{Progress, cents, clock},
    provider::{Given, Provider},
};
use super::{Context, gateway::Gateway, holder::HolderArgs, output::CliError};
use crate::{config::value::Span, entropy::SystemEntropy};

/// It ended at a ceiling.
const AT_A_CEILING: u8 = 7;
/// As shells say it of SIGINT.
const INTERRUPTED: u8 = 130;

/// `batch`
#[derive(Debug, Subcommand)]
pub enum BatchCommand {
    /// Send every request of a file, and write the answers in the same order
    Run(Box<RunArgs>),
}

/// `batch run`
#[derive(Debug, Args)]
#[command(after_help = "\
The input has one request a line: `{\"custom_id\":…,\"params\":{…}}` as of Message Batches, or a Messages request alone, which \
is then known as `line-N`. The output has the lines of Message Batches' results, and what the answer cost and how it was \
tried under `claviger`. Each answer is kept in OUTPUT.journal at once, and comes into OUTPUT at the end, or when the run \
stops at a ceiling: the same command goes on where it was ended, however it was ended.

Exit codes: 0 all succeeded, 1 some did not, 2 wrong usage, 3 no gateway answers, 4 refused, 7 a ceiling was reached, \
130 interrupted.")]
pub struct RunArgs {
    /// The requests
    #[arg(value_name = "INPUT")]
    input: PathBuf,
    /// Where the answers go
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Requests at once; half as many with --retry-errors
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: u16,
    /// Tries of one request, when it is worth another
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    tries: u32,
    /// The longest that one try takes
    #[arg(long, value_name = "SPAN", default_value = "15m")]
    timeout: Span,
    /// At a ceiling that lifts within this time, wait for it [default: end there]
    #[arg(long, value_name = "SPAN")]
    wait: Option<Span>,
    /// Ask again what was answered with an error, cancelled or expired
    #[arg(long)]
    retry_errors: bool,
    /// Leave out lines that are no requests [default: refuse them all]
    #[arg(long)]
    skip_bad: bool,
    /// Forget the answers that are there, and ask everything again
    #[arg(long, conflicts_with = "retry_errors")]
    start_over: bool,
    /// Beta features: `anthropic-beta`
    #[arg(long, value_name = "NAME,…")]
    beta: Option<String>,
    /// Use the provider's Message Batches: half the price, within a day
    #[arg(long)]
    message_batches: bool,
    /// With --message-batches: requests in one batch at most
    #[arg(long, value_name = "N", default_value_t = 10_000, requires = "message_batches",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    portion: u32,
    /// With --message-batches: how often to ask how far they are [default: ever more seldom, up to a minute]
    #[arg(long, value_name = "SPAN", requires = "message_batches")]
    poll: Option<Span>,
    #[command(flatten)]
    holder: HolderArgs,
}

/// What a run stands on while it goes on.
pub struct Going<'a> {
    input: &'a Input,
    board: &'a Board,
    journal: &'a Journal,
    pace: &'a Pace,
    gateway: &'a Gateway,
    betas: Option<&'a HeaderValue>,
    /// What all runs on this output are known by.
    run: &'a str,
    /// How often the journal was opened.
    life: u32,
}

impl From<JournalError> for CliError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Disk { .. } | JournalError::Busy(_) | JournalError::Ended => {
                Self::failed(error.to_string())
            }
            JournalError::Foreign(_) | JournalError::Newer(_) => Self::refused(error.to_string()),
        }
    }
}

/// Runs `claviger batch`.
///
/// # Errors
/// [`CliError`] when the run ended before everything was answered.
pub fn run(context: &Context, command: BatchCommand) -> Result<ExitCode, CliError> {
    match command {
        BatchCommand::Run(args) => run_all(context, &args),
    }
}

fn run_all(context: &Context, args: &RunArgs) -> Result<ExitCode, CliError> {
    let betas = args.beta.as_deref().map(HeaderValue::from_str).transpose();
    let betas = betas.map_err(|_| CliError::usage("--beta: not a header's value"))?;
    let input = read_input(context, args)?;
    is_no_input(args)?;
    let run = new_run()?;
    if args.start_over {
        forget(&args.output, &run)?;
    }
    let workers =
        usize::from(if args.retry_errors { (args.concurrency / 2).max(1) } else { args.concurrency });
    let (files, found) = Files::open(&args.output, &run, workers + 1)?;
    let Found { held, output } = found;
    if held.unreadable > 0 {
        let shown = beside(&args.output, "journal");
        context.out.note(&format!(
            "{}: {} lines say nothing and are passed over",
            shown.display(),
            held.unreadable
        ));
    }
    let board = Board::of(&input, &held.answers, &output, args.retry_errors)
        .map_err(|error| CliError::refused(error.to_string()))?;
    let begun = Instant::now();
    if board.left().is_empty() {
        return conclude(context, args, files, (&board, begun));
    }
    if held.portions.open().next().is_some() && !args.message_batches {
        return Err(CliError::refused(
            "the provider has batches of this run whose results were not fetched: go on with --message-batches",
        ));
    }
    let (gateway, _) = Gateway::find(context, &args.holder)?;
    // Whoever has no good key hears it before anything is asked.
    gateway.me()?;
    let pace = Pace::of(workers);
    let going = Going {
        input: &input,
        board: &board,
        journal: files.journal(),
        pace: &pace,
        gateway: &gateway,
        betas: betas.as_ref(),
        run: &held.run,
        life: held.life,
    };
    go(context, args, &going, (workers, held.portions))?;
    match pace.stopped() {
        Some(_) if board.left().is_empty() => conclude(context, args, files, (&board, begun)),
        Some(stop) => {
            // What failed before and is being asked again keeps its place until it is answered.
            if !args.retry_errors && !board.is_unchanged() {
                files.publish(&board.answered())?;
            }
            Err(cut_short(context, args, &board, (stop, begun)))
        }
        None => conclude(context, args, files, (&board, begun)),
    }
}

fn read_input(context: &Context, args: &RunArgs) -> Result<Input, CliError> {
    let input = Input::read(&args.input).map_err(|error| CliError::failed(error.to_string()))?;
    for bad in &input.bad {
        context.out.note(&format!("{}, line {}: {}", args.input.display(), bad.line, bad.why));
    }
    if input.bad_count > NAMED as u64 {
        context.out.note(&format!("and {} more", input.bad_count - NAMED as u64));
    }
    if input.bad_count > 0 && !args.skip_bad {
        let lines: Vec<Value> =
            input.bad.iter().map(|bad| json!({"line": bad.line, "why": bad.why})).collect();
        let message = format!(
            "{} of the lines of {} are no requests: nothing was sent; --skip-bad leaves them out",
            input.bad_count,
            args.input.display()
        );
        let answer = json!({"bad_lines": lines, "bad_lines_count": input.bad_count});
        return Err(CliError { answer: Some(Box::new(answer)), ..CliError::refused(message) });
    }
    if input.items.is_empty() {
        return Err(CliError::refused(format!("{}: no requests", args.input.display())));
    }
    Ok(input)
}

/// The output, or what is beside it, must not take the place of the input.
fn is_no_input(args: &RunArgs) -> Result<(), CliError> {
    let real = |path: &Path| path.canonicalize().ok();
    let input = real(&args.input);
    if args.output.file_name().is_none() || args.output.is_dir() {
        return Err(CliError::usage(format!("-o {}: expected a file", args.output.display())));
    }
    let mut written =
        [args.output.clone(), beside(&args.output, "journal"), beside(&args.output, "partial")].into_iter();
    if written.any(|path| real(&path).is_some_and(|path| Some(path) == input)) {
        return Err(CliError::usage("-o: that is the input, or would be written over by it"));
    }
    Ok(())
}

fn new_run() -> Result<String, CliError> {
    let mut bytes = [0; 6];
    SystemEntropy::default().fill(&mut bytes).map_err(|e| CliError::failed(e.to_string()))?;
    Ok(hex::encode(bytes))
}

/// Asks what is left.
fn go(
    context: &Context,
    args: &RunArgs,
    going: &Going<'_>,
    (workers, portions): (usize, Portions),
) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .map_err(|e| CliError::failed(e.to_string()))?;
    let route = going.gateway.route()?;
    let interrupted = runtime.block_on(async {
        let progress = Progress::of(context, going.board, going.pace);
        let wait = args.wait.map(|span| span.0);
        let working = async {
            if args.message_batches {
                let given = Given {
                    portion: args.portion as usize,
                    poll: args.poll.map(|span| span.0),
                    timeout: args.timeout.0,
                    wait,
                    spool: beside(&args.output, "results"),
                };
                Provider::new(going, given, route, (portions, &progress)).run().await;
            } else {
                let trying = Trying { tries: args.tries, timeout: args.timeout.0, wait };
                Direct::new(going, trying, route).run(workers).await;
            }
        };
        let ended = tokio::select! {
            () = working => Ok(()),
            () = progress.show() => Ok(()),
            told = told_to_stop(going, &progress) => told,
        };
        progress.end();
        ended
    });
    // A look-up of a name may hang.
    runtime.shutdown_background();
    interrupted
}

/// The first signal lets what is in flight come to its end; the second does not.
async fn told_to_stop(going: &Going<'_>, progress: &Progress<'_>) -> Result<(), CliError> {
    let wrong = |error: std::io::Error| CliError::failed(error.to_string());
    let mut interrupt = signal(SignalKind::interrupt()).map_err(wrong)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(wrong)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(wrong)?;
    for is_first in [true, false] {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        if is_first {
            let flying = going.pace.flying();
            progress.note(&format!("ending: waiting for {flying} in flight; again to end at once"));
            going.pace.stop(Stop::Interrupted);
        }
    }
    progress.end();
    Err(CliError {
        message: "interrupted: what was in flight may be asked, and paid, again".to_owned(),
        code: INTERRUPTED,
        answer: None,
    })
}

/// Everything is answered.
fn conclude(
    context: &Context,
    args: &RunArgs,
    files: Files,
    (board, begun): (&Board, Instant),
) -> Result<ExitCode, CliError> {
    let places = board.places().unwrap_or_default();
    if board.is_unchanged() {
        files.leave()?
    } else {
        files.finish(&places)?
    }
    say(context, args, board, (Value::Null, begun));
    Ok(if board.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Something is left, and why.
fn cut_short(context: &Context, args: &RunArgs, board: &Board, (stop, begun): (Stop, Instant)) -> CliError {
    let left = board.total() - board.done();
    let go_on = format!("{left} of {} are left: the same command goes on with them", board.total());
    let (why, message, code, lifts_in) = match stop {
        Stop::Ceiling { message, lifts_in } => {
            let when = lifts_in.map(|left| format!("; it lifts in {}", clock(left))).unwrap_or_default();
            (
                "ceiling",
                format!("a ceiling was reached: {}{when}. {go_on}", bare(&message)),
                AT_A_CEILING,
                lifts_in,
            )
        }
        Stop::Closed(message) => ("refused", format!("{}. {go_on}", bare(&message)), 4, None),
        Stop::Unreachable(message) => {
            ("unreachable", format!("no gateway answers: {}. {go_on}", bare(&message)), 3, None)
        }
        Stop::Interrupted => ("interrupted", format!("interrupted. {go_on}"), INTERRUPTED, None),
        Stop::Failed(message) => ("failed", format!("{}. {go_on}", bare(&message)), 1, None),
    };
    let stopped = json!({"why": why, "message": message, "lifts_in_secs": lifts_in.map(|span: Duration| span.as_secs())});
    say(context, args, board, (stopped, begun));
    CliError { message, code, answer: None }
}

/// Without the full stop that another sentence needs in its own place.
fn bare(message: &str) -> &str {
    message.trim_end().trim_end_matches('.')
}

fn say(context: &Context, args: &RunArgs, board: &Board, (stopped, begun): (Value, Instant)) {
    let mut summary = board.summary();
    if context.out.json {
        if let Some(fields) = summary.as_object_mut() {
            fields.insert("output".to_owned(), args.output.display().to_string().into());
            fields.insert("took_secs".to_owned(), begun.elapsed().as_secs().into());
            fields.insert("stopped".to_owned(), stopped);
        }
        context.out.value(&summary);
        return;
    }
    let (done, failed) = (board.done() - board.failed(), board.failed());
    let before = if board.before > 0 { format!(" ({} of them before)", board.before) } else { String::new() };
    context.out.line(&format!(
        "{} of {} answered{before}: {done} succeeded, {failed} failed; ${}",
        board.done(),
        board.total(),
        cents(board.cost())
    ));
    if stopped.is_null() {
        context.out.line(&args.output.display().to_string());
        if failed > 0 {
            context.out.note("--retry-errors asks again what failed");
        }
    }
}

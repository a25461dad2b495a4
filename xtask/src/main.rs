//! The project's automation, run as `cargo xtask <verb>`: one verb a module.

mod args;
mod bench;
mod check;
mod clients;
mod cold_build;
mod dependencies;
mod docs;
mod estimator;
mod failings;
mod fuzz;
mod go;
mod layers;
mod openapi;
mod output;
mod postgres;
mod process;
mod setup;
mod soak;
mod steps;
mod suites;
mod test;
mod workspace;

use std::process::ExitCode;

use crate::args::Arguments;
use crate::workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask <verb>

  check        quick gate: format, lints, layers, unit tests on SQLite
  test         everything: the README's command (no root; installs only under target/)
  setup        install what `test` uses, system packages included when root
  soak [NAME] --rounds N --seed S
               long runs; results are appended to bench/soak.md
  bench        measure against a plain proxy
  estimator    how far estimates of input tokens are off, into bench/estimator.md
  layers       import edges, sizes and banned names and calls
  docs         links, the book's table of contents, both READMEs, the settings, the API's document
  failings     what other gateways fail at with money and limits, each with its tests here
  openapi      write docs/openapi.json and the table of operations in docs/API.md
  dependencies licences, banned crates and sources, as deny.toml says
  cold-build   CPU-seconds of a release build from nothing (limit 900)";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let verb = words.next().unwrap_or_default();
    match run(&verb, Arguments::new(words)) {
        Ok(code) => code,
        Err(error) => {
            output::problem(&format!("xtask {verb}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(verb: &str, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::locate()?;
    match verb {
        "check" => check::run(&workspace, arguments),
        "test" => test::run(&workspace, arguments),
        "setup" => setup::run(&workspace, arguments),
        "soak" => soak::run(&workspace, arguments),
        "bench" => bench::run(&workspace, arguments),
        "estimator" => estimator::run(&workspace, arguments),
        "layers" => layers::run(&workspace, arguments),
        "docs" => docs::run(&workspace, arguments),
        "dependencies" => dependencies::run(&workspace, arguments),
        "failings" => failings::run(&workspace, arguments),
        "openapi" => openapi::run(&workspace, arguments),
        "cold-build" => cold_build::run(&workspace, arguments),
        "" | "help" | "--help" | "-h" => {
            output::line(USAGE);
            Ok(ExitCode::SUCCESS)
        }
        unknown => anyhow::bail!("unknown verb {unknown:?}\n\n{USAGE}"),
    }
}

//! Arguments in, a command run, a message and an exit status out.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = sealgate::config::cli::Cli::parse();
    match sealgate::commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sealgate: {error}");
            ExitCode::FAILURE
        }
    }
}

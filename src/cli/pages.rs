//! What a package puts beside the binary: shell completions and manual pages, made from the grammar itself.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_complete::Shell;

use super::args::Cli;
use super::output;

/// Prints the completions for a shell.
pub(super) fn completions(shell: Shell) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut grammar(), "weft", &mut script);
    output(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a manual page for each command into a directory.
pub(super) fn manual(directory: &Path) -> Result<ExitCode> {
    let written =
        fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(without_help(Cli::command()), directory));
    written.with_context(|| format!("cannot write manual pages into {}", directory.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Without `help` among each command's commands: nobody needs a page on how to ask for a page.
fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}

/// The grammar with the flags of every command in each, and without what is for nobody.
fn grammar() -> Command {
    let mut command = Cli::command();
    command.build();
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_its_page_and_hidden_ones_have_none() {
        let dir = tempfile::tempdir().unwrap();
        manual(dir.path()).unwrap();
        let page = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        assert!(page("weft-up.1").contains("advertise"), "{:?}", fs::read_dir(dir.path()).unwrap().collect::<Vec<_>>());
        assert!(page("weft-network-create.1").contains("subnet"));
        assert!(page("weft.1").contains("doctor"));
        assert!(!page("weft-up.1").contains("until-stdin-closes"));
        let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let odd: Vec<_> = names.filter(|name| name.contains("help") || name.contains("weft-man")).collect();
        assert!(odd.is_empty(), "{odd:?}");
    }

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut grammar(), "weft", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("doctor") && script.contains("metrics"), "{shell}");
        }
    }
}

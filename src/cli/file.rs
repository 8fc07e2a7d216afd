//! `/etc/weft/weft.toml`: the flags of `weft up` as a file.
//!
//! Each key is a flag of `weft up` without its dashes, and takes what the flag takes: `vxlan-port = 4790`,
//! `standalone = true`. The file is turned into arguments and goes through the same grammar, so that it cannot allow what
//! the command line does not; what is wrong in it is told with its line. What stands on the command line wins; how a node
//! comes to be (`bootstrap`, `join`, `standalone` and their files) comes from one place, not in parts from both.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::error::ErrorKind as Wrong;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::args::Cli;

/// The file that is read unless another is named; nothing is missed where there is none.
const USUAL: &str = "/etc/weft/weft.toml";

/// How a node comes to be: flags that belong together.
const ORIGIN: [&str; 5] = ["standalone", "bootstrap", "token_out", "join", "token_file"];

/// Reads the command line, and for `weft up` the file. Wrong usage of the command line ends the process.
pub(super) fn arguments(line: Vec<OsString>) -> Result<Cli> {
    let given = Cli::command().get_matches_from(&line);
    read(line, &given)
}

/// Reads the command line again, and the file as it is now.
pub(super) fn again(line: Vec<OsString>) -> Result<Cli> {
    let given = Cli::command().try_get_matches_from(&line).map_err(|error| anyhow::anyhow!(first_line(&error)))?;
    read(line, &given)
}

fn read(mut line: Vec<OsString>, given: &ArgMatches) -> Result<Cli> {
    let Some(up) = given.subcommand_matches("up") else { return Ok(Cli::from_arg_matches(given)?) };
    let named = up.get_one::<PathBuf>("config");
    let path = named.map_or(Path::new(USUAL), PathBuf::as_path);
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => {
            return Ok(Cli::from_arg_matches(given)?);
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read the configuration {}", path.display())),
    };
    line.extend(flags(&text, up).map_err(|why| anyhow::anyhow!("{}:{why:#}", path.display()))?);
    let whole = Cli::command().try_get_matches_from(&line).and_then(|matches| Cli::from_arg_matches(&matches));
    whole.map_err(|error| anyhow::anyhow!("{} and the command line do not fit: {}", path.display(), first_line(&error)))
}

/// The arguments that a file adds to those given; the error begins with its line.
fn flags(text: &str, given: &ArgMatches) -> Result<Vec<OsString>> {
    let line_of = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    let table = DeTable::parse(text).map_err(|error| {
        anyhow::anyhow!("{}: {}", line_of(error.span().map_or(0, |span| span.start)), error.message())
    })?;
    let grammar = Cli::command();
    let up = grammar.find_subcommand("up").context("the grammar has no `up`")?;
    let known: Vec<&Arg> =
        up.get_arguments().chain(grammar.get_arguments().filter(|arg| arg.get_id() == "socket")).collect();
    let said = |id: &str| given.value_source(id).is_some_and(|source| source != ValueSource::DefaultValue);
    let origin_said = ORIGIN.iter().any(|id| said(id));
    let mut keys: Vec<_> = table.get_ref().iter().collect();
    keys.sort_by_key(|(key, _)| key.span().start);
    let mut flags = Vec::new();
    for (key, value) in keys {
        let line = line_of(key.span().start);
        let name: &str = key.get_ref();
        let arg = known.iter().find(|arg| arg.get_long() == Some(name) && !arg.is_hide_set() && name != "config");
        let Some(arg) = arg else { bail!("{line}: `{name}` is no flag of `weft up` (see `weft up --help`)") };
        let words = words(arg, name, value).with_context(|| format!("{line}"))?;
        check(&words).with_context(|| format!("{}", line_of(value.span().start)))?;
        let id = arg.get_id().as_str();
        let wins = said(id) || (origin_said && ORIGIN.contains(&id));
        if !wins {
            flags.extend(words);
        }
    }
    Ok(flags)
}

/// A key and its value as arguments.
fn words(arg: &Arg, name: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<OsString>> {
    let switch = matches!(arg.get_action(), ArgAction::SetTrue);
    match (value.get_ref(), switch) {
        (DeValue::Boolean(true), true) => Ok(vec![format!("--{name}").into()]),
        (DeValue::Boolean(false), true) => Ok(Vec::new()),
        (_, true) => bail!("`{name}` is true or false"),
        (DeValue::String(text), false) => Ok(vec![format!("--{name}={text}").into()]),
        (DeValue::Integer(number), false) => Ok(vec![format!("--{name}={number}").into()]),
        (_, false) => bail!("`{name}` is a text or a number"),
    }
}

/// Whether the grammar takes the value; that it may want other flags beside it is for later.
fn check(words: &[OsString]) -> Result<()> {
    let line = ["weft", "up"].map(OsString::from).into_iter().chain(words.iter().cloned());
    match Cli::command().try_get_matches_from(line) {
        Err(error) if [Wrong::ValueValidation, Wrong::InvalidValue].contains(&error.kind()) => {
            bail!(first_line(&error))
        }
        _ => Ok(()),
    }
}

/// What clap says, without its advice on the command line.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix("error: ").unwrap_or(first).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Command, UpArgs};

    fn up(text: &str, more: &[&str]) -> Result<UpArgs, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weft.toml");
        fs::write(&path, text).unwrap();
        let config = format!("--config={}", path.display());
        let line = ["weft", "up", &config].iter().chain(more).map(OsString::from).collect();
        let whole = again(line).map_err(|error| {
            let text = format!("{error:#}");
            text.strip_prefix(&*dir.path().to_string_lossy()).unwrap_or(&text).to_owned()
        })?;
        match whole.command {
            Command::Up(args) => Ok(*args),
            _ => unreachable!(),
        }
    }

    #[test]
    fn every_flag_can_stand_in_the_file_and_the_command_line_wins() {
        let text = "# a node\nname = \"n1\"\nvxlan-port = 4790\nadvertise = \"192.0.2.1\"\nmetrics = 9469\nbootstrap = true\n\
                    token-out = \"/t\"\ndocker = \"off\"\nstate-dir = \"/d\"\n";
        let args = up(text, &[]).unwrap();
        assert_eq!((args.name.as_deref(), args.vxlan_port, args.bootstrap), (Some("n1"), Some(4790), true));
        assert_eq!((args.state_dir, args.token_out), ("/d".into(), Some("/t".into())));
        let args = up(text, &["--vxlan-port", "4791", "--state-dir", "/e", "--docker", "on"]).unwrap();
        assert_eq!((args.vxlan_port, args.state_dir), (Some(4791), "/e".into()));
        assert_eq!((args.name.as_deref(), args.docker), (Some("n1"), crate::cli::args::Docker::On));
    }

    #[test]
    fn how_a_node_comes_to_be_is_from_one_place() {
        let text = "bootstrap = true\ntoken-out = \"/t\"\n";
        let args = up(text, &["--standalone"]).unwrap();
        assert!(args.standalone && !args.bootstrap && args.token_out.is_none());
        assert!(!up("standalone = false\n", &[]).unwrap().standalone);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, line, word) in [
            ("name = \"a\"\nvxlan-prot = 1\n", 2, "`vxlan-prot` is no flag"),
            ("\n\nvxlan-port = 70000\n", 3, "70000"),
            ("advertise = \"192.0.2\"\n", 1, "192.0.2"),
            ("metrics = \":1\"\n", 1, "every address"),
            ("docker = \"maybe\"\n", 1, "maybe"),
            ("standalone = 1\n", 1, "true or false"),
            ("name = [\"a\"]\n", 1, "a text or a number"),
            ("name = \"a\"\nname = \"b\"\n", 2, "duplicate"),
            ("name = \"a\n", 1, ""),
            ("workers = 1\n", 1, "no flag"),
            ("config = \"/x\"\n", 1, "no flag"),
        ] {
            let error = up(text, &[]).unwrap_err();
            assert!(error.starts_with(&format!("/weft.toml:{line}: ")) && error.contains(word), "{text:?}: {error}");
        }
        let error = up("standalone = true\nbootstrap = true\n", &[]).unwrap_err();
        assert!(error.contains("do not fit"), "{error}");
        let line = ["weft", "up", "--config", "/nowhere/weft.toml"].map(OsString::from);
        assert!(format!("{:#}", again(line.to_vec()).unwrap_err()).contains("cannot read the configuration"));
    }
}

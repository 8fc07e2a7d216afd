//! The demo of `docker/`: nodes and workloads as containers of one engine, made by Compose.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use weft::lab::Host;

use crate::harness::engine::{Engine, SOCKET, path};
use crate::harness::privileged;
use crate::{engines, lab};

/// Names a weft that is linked statically, as what goes into images must be; `docker/binary.sh` builds one.
const STATIC: &str = "WEFT_STATIC_BINARY";

/// The command lines of Compose: the engine's plugin, and the program of its own that came before.
const COMPOSE: [&str; 2] = ["docker compose", "docker-compose"];

#[test]
fn the_demo_passes_with_whichever_compose_there_is() {
    privileged!();
    engines!();
    let Some(binary) = static_binary() else { return };
    let lab = lab();
    let host = &lab.hosts[0];
    let engine = Engine::start(host);
    let before = what_there_is(&engine);
    let there: Vec<_> = COMPOSE.iter().filter(|compose| is_there(host, compose)).collect();
    assert!(!there.is_empty(), "there is no Compose: apt-get install docker-compose");
    for compose in there {
        let demo = demo(host, compose, &binary);
        let (said, complained) = (String::from_utf8_lossy(&demo.stdout), String::from_utf8_lossy(&demo.stderr));
        println!("{compose}:\n{said}");
        assert!(demo.status.success(), "{complained}");
        // Once after the start, once after everything was restarted.
        assert_eq!(said.matches("web3 reads the page of web1").count(), 2, "{said}");
        assert_eq!(what_there_is(&engine), before, "{compose}");
    }

    // Nodes that end at once: the demo must say so, and leave as little behind.
    let busybox = host.output(Command::new("sh").args(["-c", "command -v busybox"])).unwrap().stdout;
    let failed = demo(host, "docker-compose", Path::new(String::from_utf8_lossy(&busybox).trim()));
    let said = String::from_utf8_lossy(&failed.stdout);
    assert!(!failed.status.success() && said.contains("FAILED"), "{said}");
    assert_eq!(what_there_is(&engine), before);
}

fn demo(host: &Host, compose: &str, binary: &Path) -> Output {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/demo.sh"));
    command.env("COMPOSE", compose).env("WEFT_BINARY", binary);
    host.output(client(&mut command)).unwrap()
}

fn is_there(host: &Host, compose: &str) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{compose} version")]);
    host.output(client(&mut command)).unwrap().status.success()
}

/// The static binary; says so where there is none.
pub(crate) fn static_binary() -> Option<PathBuf> {
    let binary = std::env::var_os(STATIC).map(PathBuf::from);
    if binary.is_none() {
        eprintln!("SKIPPED: needs a static binary, and {STATIC} names none");
    }
    binary
}

/// A command that finds the engine, and no settings of whoever runs the test.
pub(crate) fn client(command: &mut Command) -> &mut Command {
    command.env("PATH", path()).env("DOCKER_HOST", SOCKET).env("DOCKER_CONFIG", "/run/docker-cli").stdin(Stdio::null())
}

/// Every object of the engine.
fn what_there_is(engine: &Engine<'_>) -> [String; 4] {
    ["ps --all --quiet", "network ls --quiet", "volume ls --quiet", "images --quiet"].map(|list| engine.run(list))
}

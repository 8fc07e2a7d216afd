//! How many instructions the hot paths of the pure core take, compared with what they took before.
//!
//! Times are noise on a machine that others use; instructions are not. Each path runs under callgrind twice, once with
//! twice the work, and the difference is the work: starting cancels out. The baseline is `instructions.toml` beside this
//! file. It holds for one compiler, and for the profile `instructions`, in which nothing but the code decides what is
//! inlined:
//!
//!     cargo bench --profile instructions -p weft-vtep --bench instructions [-- --update]

#[path = "support/frames.rs"]
mod frames;
#[path = "support/paths.rs"]
mod paths;
#[path = "support/receiver.rs"]
mod receiver;
#[path = "support/side.rs"]
mod side;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::process::{Command, ExitCode, Stdio};

use paths::{PATHS, Path};

/// By how much a path may differ from its baseline, in percent.
const TOLERANCE: f64 = 3.0;
/// By how many instructions in any case: copying takes some more or less with where the stack happens to lie.
const WAVERING: f64 = 10.0;
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/instructions.toml");
const COMMAND: &str = "cargo bench --profile instructions -p weft-vtep --bench instructions";
const PROFILE: &str = "instructions";

fn main() -> ExitCode {
    weft_vtep::io::sys::cpu::accelerate(); // as the data plane does when it starts
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--path", name, times] => {
            let (path, times) = (PATHS.iter().find(|path| path.name == name), times.parse());
            (path.expect("a path of this bench").run)(times.expect("a number"));
            ExitCode::SUCCESS
        }
        ref given if given.contains(&"--bench") => judge(given.contains(&"--update")),
        // As part of `cargo test`: only that they work.
        _ => {
            PATHS.iter().for_each(|path| (path.run)(2));
            ExitCode::SUCCESS
        }
    }
}

fn judge(update: bool) -> ExitCode {
    if let Some(why) = not_comparable() {
        println!("NOT COMPARED: {why}");
        return if update { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let counts: BTreeMap<_, _> = PATHS.iter().map(|path| (path.name, count(path))).collect();
    let now: Vec<_> =
        PATHS.iter().map(|path| (path, counts[path.name] - path.less.map_or(0.0, |less| counts[less]))).collect();
    let compiler = compiler();
    if update {
        fs::write(BASELINE, document(&compiler, &now)).expect("the baseline can be written");
        println!("{BASELINE} is written");
        return ExitCode::SUCCESS;
    }
    let text = fs::read_to_string(BASELINE).unwrap_or_default();
    let before = read(&text);
    let same = before.get("rustc").is_some_and(|rustc| *rustc == format!("{compiler:?}"));
    let mut worse = 0;
    for (path, count) in &now {
        let Path { name, of, .. } = path;
        let old = before.get(*name).and_then(|count| count.parse::<f64>().ok());
        let wavers = old.is_some_and(|old| (count - old).abs() <= WAVERING);
        let change = old.map(|old| if wavers { 0.0 } else { (count / old - 1.0) * 100.0 });
        let verdict = match change {
            _ if !same || !is_limited(path) => String::new(),
            None => "NOT IN THE BASELINE".to_owned(),
            Some(change) if change > TOLERANCE => format!("{change:+.1} %: MORE THAN {TOLERANCE} %"),
            Some(change) if change < -TOLERANCE => format!("{change:+.1} %: write the new baseline, so that it stays"),
            Some(change) => format!("{change:+.1} %"),
        };
        worse += usize::from(same && is_limited(path) && change.is_none_or(|change| change > TOLERANCE));
        println!("{name:<26} {count:>9.0}  {verdict:<10}  ({of})");
    }
    if !same {
        let theirs = before.get("rustc").map_or("there is none", String::as_str);
        println!(
            "NOT COMPARED: the baseline's compiler is {theirs}, and this is {compiler:?}. A new one: {COMMAND} -- --update"
        );
    }
    if worse == 0 {
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "error: {worse} of the hot paths take more instructions than before, or have no baseline. Where they go:\n    \
         valgrind --tool=callgrind {} --path NAME 1000 && callgrind_annotate callgrind.out.*\n\
         If it is worth it, write the new baseline and say in the commit why: {COMMAND} -- --update",
        std::env::current_exe().expect("a path").display()
    );
    ExitCode::FAILURE
}

/// Why nothing can be said here, if so.
fn not_comparable() -> Option<String> {
    let built = std::env::current_exe().expect("a path");
    if !built.components().any(|part| part.as_os_str() == PROFILE) {
        return Some(format!("this is built by another profile. Run: {COMMAND}"));
    }
    // Valgrind shows programs the processor that there is, as far as it knows it; code that asks takes other ways.
    if !cfg!(target_arch = "x86_64") || !has_avx2() {
        return Some("the baseline is for x86-64 with AVX2".to_owned());
    }
    let valgrind = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    (!valgrind.is_ok_and(|status| status.success())).then(|| "it needs valgrind: apt-get install valgrind".to_owned())
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}

/// The cipher's own cost is aws-lc's and the processor's.
fn is_limited(path: &Path) -> bool {
    PATHS.iter().all(|other| other.less != Some(path.name))
}

/// Instructions of one time.
fn count(path: &Path) -> f64 {
    let [once, twice] = [1, 2].map(|factor| collected(path.name, path.times * factor));
    (twice - once) as f64 / f64::from(path.times)
}

/// What callgrind says of this program, doing the work so many times.
fn collected(name: &str, times: u32) -> u64 {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(std::env::current_exe().expect("a path")).args(["--path", name, &times.to_string()]);
    let output = command.stdin(Stdio::null()).output().expect("valgrind is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} under valgrind: {said}");
    let line = said.lines().find_map(|line| line.split_once("Collected :"));
    line.and_then(|(_, count)| count.trim().parse().ok()).unwrap_or_else(|| panic!("no count in {said}"))
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output().expect("a compiler");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// `key = value` lines; all that this file has of TOML.
fn read(text: &str) -> BTreeMap<&str, String> {
    let pairs = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
    pairs.map(|(key, value)| (key, value.to_owned())).collect()
}

fn document(compiler: &str, counts: &[(&Path, f64)]) -> String {
    let mut text = format!(
        "# Instructions of the hot paths, counted by callgrind; written by\n# {COMMAND} -- --update\nrustc = {compiler:?}\n"
    );
    for (path, count) in counts.iter().filter(|(path, _)| is_limited(path)) {
        let _ = write!(text, "\n# {}\n{} = {count:.0}\n", path.of, path.name);
    }
    text
}

//! The `weft` binary: see [`weft::cli`].

fn main() -> std::process::ExitCode {
    weft::cli::main()
}

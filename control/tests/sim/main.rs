//! A whole cluster under virtual time: the pure core of every node, and a network that loses, delays, reorders,
//! partitions and stalls as a seed says. No socket, no clock, no thread; a minute of a hundred nodes takes a second.
//!
//! A failing seed is printed. `WEFT_SIM_SEED=N cargo test -p weft-control --test sim NAME` runs the same again, event
//! by event; `WEFT_SIM_RUNS=N` tries that many seeds instead of the few that are always run. The counts of the promises, up to
//! 1,000 nodes, are ignored by default: `cargo test --release -p weft-control --test sim -- --ignored` (`WEFT_SIM_NODES=N`
//! for fewer).
//!
//! * `net`: the network's behaviour. `streams`: what TCP makes of it. `world`: nodes, events, the loop.
//! * `check`: what must hold. The rest are the scenarios.

mod chaos;
mod check;
mod membership;
mod net;
mod seeds;
mod spread;
mod streams;
mod upgrade;
mod world;

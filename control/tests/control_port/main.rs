//! The control port over real TCP on the loopback interface: who gets in, who does not, and what an onlooker sees.

mod abuse;
mod fixture;
mod joining;
mod lifetime;
mod members;
mod onlooker;
mod rotation;
mod stranger;

//! The control port over real TCP on the loopback interface: who gets in, who does not, and what an onlooker sees.

mod fixture;
mod joining;
mod members;

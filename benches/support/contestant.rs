//! The overlays that are measured, each on a lab of its own.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use weft::lab::{Container, Daemon, Lab, LabSpec, kernel, overlay};
use weft_vtep::addr::Vni;

use crate::naive::Naive;

/// What kind of overlay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Kind {
    /// This project's daemon, as built for release.
    Weft,
    /// The kernel's VXLAN device and a bridge, as Docker's overlay driver builds it.
    Kernel,
    /// A blocking read/send_to loop on a plain TAP.
    Naive,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Weft => "weft",
            Kind::Kernel => "kernel",
            Kind::Naive => "naive",
        })
    }
}

/// An overlay that is ready to be measured.
pub(crate) struct Contestant {
    pub(crate) kind: Kind,
    lab: Lab,
    daemons: Vec<Daemon>,
    loops: Vec<Naive>,
}

impl Contestant {
    pub(crate) fn make(kind: Kind, spec: &LabSpec) -> Result<Self> {
        let vni = Vni::new(77).context("77 is a VNI")?;
        let lab = Lab::build(spec.clone())?;
        let (mut daemons, mut loops) = (Vec::new(), Vec::new());
        match kind {
            Kind::Weft => daemons = overlay::weft(&lab, Path::new(env!("CARGO_BIN_EXE_weft")), "bench", vni)?,
            Kind::Kernel => kernel::overlay(&lab, vni)?,
            Kind::Naive => {
                for host in &lab.hosts {
                    loops.push(Naive::start(host, lab.peers_of(host)[0], vni, spec.inner_mtu())?);
                }
            }
        }
        Ok(Contestant { kind, lab, daemons, loops })
    }

    /// The containers between which is measured.
    pub(crate) fn ends(&self) -> (&Container, &Container) {
        (&self.lab.hosts[0].containers[0], &self.lab.hosts[1].containers[0])
    }

    /// CPU time that the overlay's own processes or threads have used; `None` where it has none.
    pub(crate) fn cpu_time(&self) -> Result<Option<Duration>> {
        let daemons = self.daemons.iter().map(Daemon::cpu_time);
        let used = daemons.chain(self.loops.iter().map(Naive::cpu_time)).collect::<Result<Vec<_>>>()?;
        Ok((!used.is_empty()).then(|| used.iter().sum()))
    }
}

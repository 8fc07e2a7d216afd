//! This host: kernel, rights, CPU, addresses.

use std::fs;
use std::os::fd::AsFd;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use weft_vtep::io::sys::tun::{self, Mode, offload};

use super::super::facts::{Address, Cpu, Host, Tun, TunFeature};
use super::firewall::{self, Wanted};
use crate::node::daemon::missing_capabilities;
use crate::node::underlay::global_addresses;
use crate::sandbox::Netns;

/// Looks at the host. Blocks.
pub(super) fn look(wanted: &Wanted) -> Host {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let missing = missing_capabilities(&status);
    let addresses = global_addresses().unwrap_or_default().into_iter();
    Host {
        now: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        tun: if missing.is_empty() { try_tun() } else { Tun { untried: true, ..Tun::default() } },
        missing_capabilities: missing.into_iter().map(str::to_owned).collect(),
        cpu: cpu(),
        addresses: addresses.map(|(interface, ip)| Address { interface, ip }).collect(),
        firewall: firewall::read(wanted),
    }
}

/// Makes a TAP device in a namespace of its own, and sees what it takes.
fn try_tun() -> Tun {
    let tried = Netns::anonymous().and_then(|netns| netns.run(offloads));
    match tried {
        Ok(Ok(lacks)) => Tun { lacks, ..Tun::default() },
        Ok(Err(error)) => Tun { broken: Some(error.to_string()), ..Tun::default() },
        Err(error) => Tun { broken: Some(error.to_string()), ..Tun::default() },
    }
}

fn offloads() -> std::io::Result<Vec<TunFeature>> {
    const TSO: u32 = offload::CSUM | offload::TSO4 | offload::TSO6;
    let device = tun::open("weft-doctor", Mode::Create, false)?;
    let steps = [
        (TunFeature::Checksum, offload::CSUM),
        (TunFeature::Tso, TSO),
        (TunFeature::TsoEcn, TSO | offload::TSO_ECN),
        (TunFeature::Uso, TSO | offload::USO4 | offload::USO6),
    ];
    let mut lacks = Vec::new();
    for (feature, flags) in steps {
        match tun::set_offload(device.as_fd(), flags) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => lacks.push(feature),
            Err(error) => return Err(error),
        }
    }
    Ok(lacks)
}

#[cfg(target_arch = "x86_64")]
fn cpu() -> Cpu {
    Cpu {
        arch: "x86_64".to_owned(),
        aes: std::arch::is_x86_feature_detected!("aes"),
        clmul: std::arch::is_x86_feature_detected!("pclmulqdq"),
        wide: std::arch::is_x86_feature_detected!("avx2"),
    }
}

#[cfg(target_arch = "aarch64")]
fn cpu() -> Cpu {
    Cpu {
        arch: "aarch64".to_owned(),
        aes: std::arch::is_aarch64_feature_detected!("aes"),
        clmul: std::arch::is_aarch64_feature_detected!("pmull"),
        wide: true,
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn cpu() -> Cpu {
    Cpu { arch: std::env::consts::ARCH.to_owned(), ..Cpu::default() }
}

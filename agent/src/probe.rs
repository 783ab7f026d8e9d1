//! Finds out what this machine is: its names, its size and the address that others reach it by.

use sha2::{Digest, Sha256};
use std::{
    fs, io,
    net::{IpAddr, UdpSocket},
    path::{Path, PathBuf},
};

/// What the kernel says of this machine, read once at start.
///
/// Cores and memory are the machine's. Limits of a cgroup around the agent are not seen: the
/// containers run beside the agent, not below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostFacts {
    pub(crate) hostname: String,
    /// Cores online, at least 1.
    pub(crate) cores: u32,
    pub(crate) memory_mib: u32,
    /// The first and the last port that the kernel gives to whoever asks for any.
    pub(crate) ephemeral_ports: (u16, u16),
    /// The kernel's release, such as "6.1.0-28-arm64".
    pub(crate) kernel: String,
    /// As Rust and `uname -m` call it: "x86_64", "aarch64".
    pub(crate) arch: &'static str,
    /// Zero where the machine has no id: then a clone of it cannot be told from it.
    pub(crate) fingerprint: u64,
    /// Another one after each boot of the kernel.
    pub(crate) boot_id: String,
    /// The source address of the default route, else of any interface; `None` without a network.
    pub(crate) address: Option<IpAddr>,
}

/// The kernel did not say what every Linux says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    #[error("cannot read {path}: the agent needs /proc, /sys and /etc as any Linux has them")]
    Read {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("cannot find {what} in {path}: the agent needs /proc and /sys as any Linux has them")]
    Missing { what: &'static str, path: PathBuf },
}

impl HostFacts {
    /// CPU units, 1024 a core.
    pub(crate) const fn cpu_units(&self) -> u32 {
        self.cores.saturating_mul(1_024)
    }

    pub(crate) fn read() -> Result<Self, ProbeError> {
        Ok(Self {
            hostname: line("/proc/sys/kernel/hostname")?,
            cores: found("cores", "/sys/devices/system/cpu/online", cores_in)?,
            memory_mib: found("MemTotal", "/proc/meminfo", memory_mib_in)?,
            ephemeral_ports: ephemeral_ports()?,
            kernel: line("/proc/sys/kernel/osrelease")?,
            arch: std::env::consts::ARCH,
            fingerprint: fingerprint_in(Path::new("/etc/machine-id"))?,
            boot_id: line("/proc/sys/kernel/random/boot_id")?,
            address: default_address(),
        })
    }
}

fn ephemeral_ports() -> Result<(u16, u16), ProbeError> {
    let path = Path::new("/proc/sys/net/ipv4/ip_local_port_range");
    let text = read(path)?;
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) => Ok((first, last)),
        _ => Err(ProbeError::Missing {
            what: "two ports",
            path: path.to_owned(),
        }),
    }
}

fn read(path: &Path) -> Result<String, ProbeError> {
    fs::read_to_string(path).map_err(|err| ProbeError::Read {
        path: path.to_owned(),
        err,
    })
}

fn line(path: &str) -> Result<String, ProbeError> {
    Ok(read(Path::new(path))?.trim().to_owned())
}

fn found(
    what: &'static str,
    path: &str,
    parse: fn(&str) -> Option<u32>,
) -> Result<u32, ProbeError> {
    let path = Path::new(path);
    parse(&read(path)?).ok_or_else(|| ProbeError::Missing {
        what,
        path: path.to_owned(),
    })
}

/// Counts the cores in the kernel's list form, such as "0-3,8".
///
/// The list of the kernel and not the affinity of the agent, because the agent may be pinned to
/// one core while the containers use all.
fn cores_in(list: &str) -> Option<u32> {
    let ranges = list.trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    });
    ranges.sum::<Option<u32>>().filter(|count| *count > 0)
}

fn memory_mib_in(meminfo: &str) -> Option<u32> {
    let rest = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    u32::try_from(kib / 1_024).ok()
}

/// Zero where the file is absent, empty or not yet filled in ("uninitialized", in golden images).
fn fingerprint_in(path: &Path) -> Result<u64, ProbeError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(fingerprint_of(&text)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(err) => Err(ProbeError::Read {
            path: path.to_owned(),
            err,
        }),
    }
}

/// A hash of our own, since machine-id(5) asks that the id itself is not shown on networks.
fn fingerprint_of(machine_id: &str) -> u64 {
    let id = machine_id.trim();
    if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return 0;
    }
    let digest = Sha256::new()
        .chain_update("holdfast machine ")
        .chain_update(id)
        .finalize();
    let (first, _) = digest.split_first_chunk().expect("SHA-256 has 32 bytes");
    u64::from_be_bytes(*first)
}

/// Asks the routing table: connecting a datagram socket sends nothing, it only picks a source.
fn default_address() -> Option<IpAddr> {
    let routed = |from: &str, to: &str| {
        let socket = UdpSocket::bind(from).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(is_reachable)
    };
    // Addresses that RFC 5737 and RFC 3849 keep for documentation, so nobody's host is named here.
    routed("0.0.0.0:0", "192.0.2.1:9")
        .or_else(|| routed("[::]:0", "[2001:db8::1]:9"))
        .or_else(first_interface_address)
}

/// For a network without a default route: the first interface's address, IPv4 before IPv6.
fn first_interface_address() -> Option<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().ok()?;
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::from(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::from(a.ip())))
    });
    addresses.filter(is_reachable).min_by_key(IpAddr::is_ipv6)
}

fn is_reachable(address: &IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || link_local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_counted_from_the_kernels_list() {
        assert_eq!(cores_in("0\n"), Some(1));
        assert_eq!(cores_in("0-1\n"), Some(2));
        assert_eq!(cores_in("0-3,8,10-11"), Some(7));
        for bad in ["", "\n", "3-1", "a", "0-", "0-4294967295"] {
            assert_eq!(cores_in(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn memory_is_what_the_kernel_calls_total() {
        let sample = "MemFree:        22211724 kB\nMemTotal:       24684084 kB\nHugePages: 0\n";
        assert_eq!(memory_mib_in(sample), Some(24_105));
        for bad in ["", "MemTotal:", "MemTotal: 12 MB", "MemTotal: x kB"] {
            assert_eq!(memory_mib_in(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_machine_without_an_id_of_its_own_has_fingerprint_zero() {
        let id = "3d1219c7c4c5404aaa1f6d2a48adfda4";
        assert_ne!(fingerprint_of(id), 0);
        assert_eq!(fingerprint_of(id), fingerprint_of(&format!("{id}\n")));
        assert_ne!(fingerprint_of(id), fingerprint_of(&id.replace('3', "4")));
        assert_eq!(fingerprint_of("uninitialized\n"), 0);
        assert_eq!(fingerprint_of(""), 0);
        assert_eq!(fingerprint_in(Path::new("/nonexistent")).ok(), Some(0));
    }

    #[test]
    fn this_machine_answers() {
        let facts = HostFacts::read().unwrap();
        assert!(facts.cores > 0 && facts.memory_mib > 0, "{facts:?}");
        assert!(!facts.hostname.is_empty() && !facts.kernel.is_empty());
        assert_eq!(facts.boot_id.len(), 36, "{facts:?}");
        assert_eq!(facts.cpu_units(), facts.cores * 1_024);
        assert!(facts.address.iter().all(is_reachable));
    }
}

//! Which addresses may be asked: those that anybody on the Internet can ask, and no others.
//!
//! Whoever feeds links must not reach, through this process, what only this process can reach: its own machine, its network, the metadata
//! service of its cloud.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::{Ipv4Net, Ipv6Net};
use url::Host;

use super::link::Link;

/// Not public, by IANA's registry of special-purpose addresses, and what clouds keep for themselves.
const RESERVED_V4: [(&str, &str); 16] = [
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "a private network"),
    ("100.64.0.0/10", "a carrier's network"),
    ("127.0.0.0/8", "this machine"),
    ("168.63.129.16/32", "a cloud's own service"),
    ("169.254.0.0/16", "link-local, where clouds keep their metadata"),
    ("172.16.0.0/12", "a private network"),
    ("192.0.0.0/24", "reserved for protocols"),
    ("192.0.2.0/24", "for documentation"),
    ("192.88.99.0/24", "a 6to4 relay"),
    ("192.168.0.0/16", "a private network"),
    ("198.18.0.0/15", "for benchmarks"),
    ("198.51.100.0/24", "for documentation"),
    ("203.0.113.0/24", "for documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
];
/// Of global unicast, the only part of IPv6 that is public.
const RESERVED_V6: [(&str, &str); 3] =
    [("2001::/23", "reserved for protocols"), ("2001:db8::/32", "for documentation"), ("3fff::/20", "for documentation")];
const GLOBAL_UNICAST: &str = "2000::/3";
/// Addresses that stand for an IPv4 address: where in them it begins, in bytes.
const EMBEDDED_V4: [(&str, usize); 4] = [("::ffff:0:0/96", 12), ("::ffff:0:0:0/96", 12), ("64:ff9b::/96", 12), ("2002::/16", 2)];

type Named<N> = Vec<(N, &'static str)>;

static V4: LazyLock<Named<Ipv4Net>> = LazyLock::new(|| parsed(&RESERVED_V4));
static V6: LazyLock<Named<Ipv6Net>> = LazyLock::new(|| parsed(&RESERVED_V6));
static GLOBAL: LazyLock<Option<Ipv6Net>> = LazyLock::new(|| GLOBAL_UNICAST.parse().ok());
static EMBEDDED: LazyLock<Vec<(Ipv6Net, usize)>> =
    LazyLock::new(|| EMBEDDED_V4.iter().filter_map(|(net, at)| Some((net.parse().ok()?, *at))).collect());

fn parsed<N: std::str::FromStr>(table: &[(&str, &'static str)]) -> Named<N> {
    table.iter().filter_map(|(net, what)| Some((net.parse().ok()?, *what))).collect()
}

/// Why an address is not asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Forbidden {
    #[error("{address} is not a public address but {what}; links.allow_private would allow it")]
    Address { address: IpAddr, what: &'static str },
    #[error("port {0} is none of the web's: 80, 443, or from 1024 on; links.allow_private would allow it")]
    Port(u16),
}

/// What may be asked.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    allow_private: bool,
    /// Taken for public, by tests, which cannot ask what is.
    permitted: Vec<IpAddr>,
}

impl Guard {
    pub(super) fn new(allow_private: bool) -> Self {
        Self { allow_private, permitted: Vec::new() }
    }

    #[cfg(test)]
    pub(super) fn permitting(address: IpAddr) -> Self {
        Self { allow_private: false, permitted: vec![address] }
    }

    /// Checks what can be told from a link alone; a name is checked when it is looked up.
    pub(super) fn check_link(&self, link: &Link) -> Result<(), Forbidden> {
        if self.allow_private {
            return Ok(());
        }
        let port = link.port();
        if !matches!(port, 80 | 443 | 1024..) {
            return Err(Forbidden::Port(port));
        }
        match link.host() {
            Some(Host::Ipv4(address)) => self.check(address.into()),
            Some(Host::Ipv6(address)) => self.check(address.into()),
            Some(Host::Domain(_)) | None => Ok(()),
        }
    }

    /// Checks an address.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), Forbidden> {
        if self.allow_private || self.permitted.contains(&address) {
            return Ok(());
        }
        let what = match address {
            IpAddr::V4(address) => reserved_v4(address),
            IpAddr::V6(address) => reserved_v6(address),
        };
        what.map_or(Ok(()), |what| Err(Forbidden::Address { address, what }))
    }
}

fn reserved_v4(address: Ipv4Addr) -> Option<&'static str> {
    V4.iter().find(|(net, _)| net.contains(&address)).map(|(_, what)| *what)
}

fn reserved_v6(address: Ipv6Addr) -> Option<&'static str> {
    if let Some((_, at)) = EMBEDDED.iter().find(|(net, _)| net.contains(&address))
        && let Some([a, b, c, d]) = address.octets().get(*at..at + 4)
    {
        return reserved_v4(Ipv4Addr::new(*a, *b, *c, *d));
    }
    if let Some((_, what)) = V6.iter().find(|(net, _)| net.contains(&address)) {
        return Some(what);
    }
    let is_global = GLOBAL.is_some_and(|net| net.contains(&address));
    (!is_global).then_some("local or reserved")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_of_the_tables_is_read() {
        assert_eq!((V4.len(), V6.len(), EMBEDDED.len()), (RESERVED_V4.len(), RESERVED_V6.len(), EMBEDDED_V4.len()));
        assert!(GLOBAL.is_some());
    }

    #[test]
    fn only_public_addresses_are_asked() {
        let guard = Guard::new(false);
        for address in ["1.1.1.1", "93.184.216.34", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "198.20.0.1"] {
            guard.check(address.parse().unwrap()).unwrap();
        }
        for address in
            ["2606:4700::1111", "2a00:1450::1", "2001:4860::8888", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"]
        {
            guard.check(address.parse().unwrap()).unwrap();
        }
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "100.100.100.200",
        ] {
            let address: Ipv4Addr = address.parse().unwrap();
            let [a, b, c, d] = address.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            let forms = [
                IpAddr::V4(address),
                address.to_ipv6_mapped().into(),
                Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low).into(),
                Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low).into(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low).into(),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1).into(),
            ];
            for form in forms {
                assert!(matches!(guard.check(form), Err(Forbidden::Address { .. })), "{form}");
                Guard::new(true).check(form).unwrap();
            }
        }
        for address in [
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2001:2::1",
            "3fff::1",
            "64:ff9b:1::1",
            "100::1",
            "4000::1",
            "5f00::1",
        ] {
            assert!(guard.check(address.parse().unwrap()).is_err(), "{address}");
        }
    }

    #[test]
    fn ports_of_other_services_are_left_alone() {
        let guard = Guard::new(false);
        for (link, allowed) in [
            ("http://example.org/", true),
            ("https://example.org/", true),
            ("http://example.org:8080/", true),
            ("http://example.org:22/", false),
            ("http://example.org:25/", false),
            ("http://127.0.0.1:8080/", false),
            ("http://[::1]/", false),
        ] {
            assert_eq!(guard.check_link(&Link::new(link).unwrap()).is_ok(), allowed, "{link}");
        }
        Guard::new(true).check_link(&Link::new("http://127.0.0.1:25/").unwrap()).unwrap();
    }
}

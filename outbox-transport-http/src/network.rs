//! Which addresses a request may go to.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// All of IPv4 that is not the public internet, from the registry of IANA for special purposes.
const PRIVATE_V4: [(Ipv4Addr, u8, &str); 17] = [
    (Ipv4Addr::UNSPECIFIED, 8, "this network"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared by a provider"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "for documentation"),
    (Ipv4Addr::new(192, 31, 196, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 52, 193, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(192, 175, 48, 0), 24, "reserved"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "for benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "for documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 3, "multicast or reserved"),
];

/// The same of the part of IPv6 that is in use, `2000::/3`.
const PRIVATE_V6: [(Ipv6Addr, u8, &str); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "reserved"),
    (
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
        32,
        "for documentation",
    ),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4"),
    (
        Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0),
        20,
        "for documentation",
    ),
];

const IN_USE_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// An address of IPv6 that stands for one of IPv4, with the place of that in its 128 bits.
const EMBEDDED_V4: [(Ipv6Addr, u8, u32, &str); 4] = [
    (
        Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0),
        96,
        0,
        "IPv4-mapped",
    ),
    (
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0),
        96,
        0,
        "NAT64",
    ),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 80, "6to4"),
    (
        Ipv6Addr::UNSPECIFIED,
        96,
        0,
        "loopback, unspecified or IPv4-compatible",
    ),
];

/// An address that is not public, and not allowed by the configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Forbidden {
    address: IpAddr,
    why: &'static str,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, why } = self;
        write!(
            f,
            "address is {address} ({why}), but must be public or in an allowed network"
        )
    }
}

impl std::error::Error for Forbidden {}

/// Allows public addresses, and those of `allowed`. If an address of IPv6 stands for one of IPv4, both
/// must be allowed.
pub(crate) fn check(address: IpAddr, allowed: &[IpNet]) -> Result<(), Forbidden> {
    let is_listed = allowed.iter().any(|network| network.contains(&address));
    let why = match address {
        IpAddr::V4(v4) => private_v4(v4),
        IpAddr::V6(v6) => match embedded(v6) {
            // The address ::1 is of no network of IPv4.
            Some((v4, why)) if is_listed && v4 > Ipv4Addr::new(0, 0, 0, 1) => {
                return check(v4.into(), allowed).map_err(|_| Forbidden { address, why });
            }
            Some((_, why)) => Some(why),
            None => private_v6(v6),
        },
    };
    match why {
        Some(why) if !is_listed => Err(Forbidden { address, why }),
        _ => Ok(()),
    }
}

fn private_v4(address: Ipv4Addr) -> Option<&'static str> {
    let mut networks = PRIVATE_V4.iter();
    let network = networks.find(|(base, bits, _)| contains_v4(*base, *bits, address));
    network.map(|(_, _, why)| *why)
}

fn private_v6(address: Ipv6Addr) -> Option<&'static str> {
    let mut networks = PRIVATE_V6.iter();
    let network = networks.find(|(base, bits, _)| contains_v6(*base, *bits, address));
    let (base, bits) = IN_USE_V6;
    match network {
        Some((_, _, why)) => Some(why),
        None if contains_v6(base, bits, address) => None,
        None => Some("private, link-local, multicast or reserved"),
    }
}

fn embedded(address: Ipv6Addr) -> Option<(Ipv4Addr, &'static str)> {
    let mut kinds = EMBEDDED_V4.iter();
    let kind = kinds.find(|(base, bits, _, _)| contains_v6(*base, *bits, address));
    let (_, _, shift, why) = kind?;
    // The lowest 32 bits of what is left.
    let [.., a, b, c, d] = (address.to_bits() >> shift).to_be_bytes();
    Some((Ipv4Addr::new(a, b, c, d), why))
}

fn contains_v4(base: Ipv4Addr, bits: u8, address: Ipv4Addr) -> bool {
    Ipv4Net::new(base, bits).is_ok_and(|network| network.contains(&address))
}

fn contains_v6(base: Ipv6Addr, bits: u8, address: Ipv6Addr) -> bool {
    Ipv6Net::new(base, bits).is_ok_and(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(address: &str, allowed: &[&str]) -> bool {
        let allowed: Vec<IpNet> = allowed.iter().map(|net| net.parse().unwrap()).collect();
        check(address.parse().unwrap(), &allowed).is_ok()
    }

    #[test]
    fn public_addresses_are_allowed() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2a00::1",
        ] {
            assert!(is_allowed(address, &[]), "{address}");
        }
    }

    #[test]
    fn a_network_allows_its_addresses_only() {
        assert!(is_allowed("10.1.2.3", &["192.168.0.0/16", "10.1.0.0/16"]));
        assert!(!is_allowed("10.2.2.3", &["10.1.0.0/16"]));
        assert!(is_allowed("::1", &["::1/128"]));
        assert!(is_allowed("fd00::1", &["fd00::/8"]));
        assert!(!is_allowed("fe80::1", &["fd00::/8"]));
    }

    #[test]
    fn an_address_that_stands_for_one_of_ipv4_needs_both_to_be_allowed() {
        let nat64 = "64:ff9b::/96";
        assert!(!is_allowed("64:ff9b::1.1.1.1", &[]));
        assert!(is_allowed("64:ff9b::1.1.1.1", &[nat64]));
        assert!(!is_allowed("64:ff9b::127.0.0.1", &[nat64]));
        assert!(is_allowed("64:ff9b::127.0.0.1", &[nat64, "127.0.0.0/8"]));
        assert!(!is_allowed("::ffff:10.0.0.1", &["10.0.0.0/8"]));
        assert!(!is_allowed("2002:7f00:1::", &["2002::/16"]));
        assert!(is_allowed("2002:101:101::", &["2002::/16"]));
        assert!(!is_allowed("::127.0.0.1", &["::/0"]));
    }

    #[test]
    fn an_error_names_the_address_and_what_it_must_be() {
        let error = check("127.0.0.1".parse().unwrap(), &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "address is 127.0.0.1 (loopback), but must be public or in an allowed network"
        );
    }
}

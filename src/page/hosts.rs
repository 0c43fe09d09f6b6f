//! The names under which the page may be asked for.
//!
//! A name of a foreign site that leads here would let that site's pages read the line, and act in the name of who is
//! signed in: the `Host` of each request must be a loopback address, `localhost`, or what the page's certificate is for.

use std::net::IpAddr;

/// Names and addresses of a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Names in small letters; one that begins with `*.` stands for all one level below.
    names: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
}

impl Names {
    /// Adds a name.
    pub fn add_name(&mut self, name: &str) {
        self.names.push(name.to_ascii_lowercase());
    }

    /// True without a name and an address.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.addresses.is_empty()
    }

    /// True for a host, without its port, that is among them.
    pub fn has(&self, host: &str) -> bool {
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.addresses.contains(&address);
        }

        let host = host.to_ascii_lowercase();
        let below = host.split_once('.').map(|(_, below)| below);

        // A star stands for one level, as browsers have it.
        for name in &self.names {
            let star = name.strip_prefix("*.");

            if *name == host || (star.is_some() && star == below) {
                return true;
            }
        }

        false
    }
}

/// True for a `Host` header of this page: a loopback address, `localhost`, or one of `names`, with or without a port.
pub fn is_own_host(host: &str, names: &Names) -> bool {
    let name = match host.rsplit_once(':') {
        // A bare IPv6 address stands in brackets.
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    };

    let bare = name.trim_start_matches('[').trim_end_matches(']');

    // A name is not looked up: whoever owns it decides where it leads.
    let address = bare.parse::<IpAddr>();
    let is_loopback = address.is_ok_and(|address| address.is_loopback());

    is_loopback || bare.eq_ignore_ascii_case("localhost") || names.has(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machines_names_are_own() {
        let none = Names::default();
        for own in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:8080",
            "127.8.8.8",
            "[::1]:80",
            "[::1]",
        ] {
            assert!(is_own_host(own, &none), "{own}");
        }

        for foreign in [
            "",
            "evil.example",
            "localhost.evil.example:8080",
            "10.0.0.7:8080",
            "[::2]:80",
            ":80",
        ] {
            assert!(!is_own_host(foreign, &none), "{foreign}");
        }
    }

    #[test]
    fn names_of_the_certificate_are_own_too() {
        let mut names = Names::default();
        names.add_name("Box.plant");
        names.add_name("*.lines.plant");
        names.addresses.push(IpAddr::from([10, 0, 0, 7]));
        for own in [
            "box.plant:8443",
            "a.lines.plant",
            "10.0.0.7:8443",
            "localhost",
        ] {
            assert!(is_own_host(own, &names), "{own}");
        }

        for foreign in [
            "plant",
            "x.box.plant",
            "lines.plant",
            "a.b.lines.plant",
            "10.0.0.8",
            "[::2]",
        ] {
            assert!(!is_own_host(foreign, &names), "{foreign}");
        }
    }
}

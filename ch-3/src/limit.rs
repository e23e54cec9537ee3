//! The limit of logins: each client has a number of attempts, and gets back one each second. This is called a token
//! bucket, and has nothing to do with the tokens of auth.rs. api.rs asks it before a password is checked.

use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::DefaultKeyedRateLimiter;
use governor::Quota;
use governor::RateLimiter;
use governor::clock::Clock;
use governor::clock::DefaultClock;

/// A client may try this many logins in a row, and after that one in each second.
const BURST: NonZeroU32 = NonZeroU32::new(20).expect("not zero");

/// If there are this many buckets, those of clients that have all their attempts again are removed, so that an
/// attacker cannot fill the memory.
const BUCKETS: usize = 10_000;

pub struct LoginLimit {
    buckets: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
}

impl LoginLimit {
    pub fn new() -> Self {
        let quota = Quota::per_second(NonZeroU32::MIN).allow_burst(BURST);
        Self { buckets: RateLimiter::keyed(quota), clock: DefaultClock::default() }
    }

    /// # Errors
    /// The time that the client has to wait before its next login.
    pub fn check(&self, client: IpAddr) -> Result<(), Duration> {
        if self.buckets.len() >= BUCKETS {
            self.buckets.retain_recent();
        }
        let verdict = self.buckets.check_key(&network(client));
        verdict.map_err(|until| until.wait_time_from(self.clock.now()))
    }
}

/// All IPv6 addresses of one network (/64) are one client, because it usually has all of them.
pub fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_bucket() {
        let limit = LoginLimit::new();
        let client = "192.0.2.1".parse().unwrap();
        let refused = (0..=BURST.get()).find_map(|_| limit.check(client).err()).unwrap();
        assert!(refused <= Duration::from_secs(1));
        limit.check("192.0.2.2".parse().unwrap()).unwrap();
        assert!(limit.check("::ffff:192.0.2.1".parse().unwrap()).is_err());
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_a_bucket() {
        let limit = LoginLimit::new();
        for number in 0..BURST.get() {
            limit.check(format!("2001:db8::{number:x}").parse().unwrap()).unwrap();
        }
        assert!(limit.check("2001:db8::ffff".parse().unwrap()).is_err());
        limit.check("2001:db8:0:1::1".parse().unwrap()).unwrap();
    }

    /// After a second a bucket has all its attempts again, and may be removed.
    #[test]
    fn full_buckets_are_thrown_away() {
        let limit = LoginLimit::new();
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        for number in 0.. {
            limit.check(std::net::Ipv4Addr::from_bits(number).into()).unwrap();
            if number as usize > limit.buckets.len() {
                break;
            }
            if number as usize > BUCKETS {
                assert!(std::time::Instant::now() < deadline, "{number} buckets");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

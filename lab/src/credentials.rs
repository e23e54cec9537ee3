//! The secrets of the programs that lab checks and measures: it knows them, and they open nothing else.

pub const USERNAME: &str = "lab";
pub const PASSWORD: &str = "correct horse battery staple";
/// Argon2id of `PASSWORD`, with the algorithm's usual cost.
pub const PASSWORD_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$ivLSGOFd3lA7nn/rwq4ZYg$trIq7403gdwI569WFzRUlUiDNx7DCDY9V3B6SDGKLDg";
pub const JWT_SECRET: &str = "lab-signs-with-this-secret-and-nobody-else-does";

//! The ports that `up` opens: the defaults of the chapters, or those of the command line. It refuses to start while
//! another program has one of them.

use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use crate::ports::owner;
use crate::up::options::Options;

/// The port of chapter 1, which has no configuration and so can't take another one.
const FIXED: u16 = 7000;
const CONSUMER: u16 = 8080;
const PRODUCER: u16 = 2112;

/// Where the chapter's programs listen, on 127.0.0.1.
pub struct Ports {
    /// The port of the server; from chapter 3 on it has `/stats`.
    pub server: u16,
    /// `None` before chapter 5.
    pub producer: Option<u16>,
}

impl Ports {
    /// # Errors
    /// A port is taken, or the chapter can't use the one that was chosen.
    pub fn of(chapter: u8, options: &Options) -> Result<Self> {
        let server = options.port.unwrap_or(if chapter < 5 { FIXED } else { CONSUMER });
        if chapter == 1 && server != FIXED {
            bail!("chapter 1 always listens on port {FIXED}: HTTP_ADDR comes with chapter 2");
        }
        let producer = (chapter >= 5).then(|| options.producer_port.unwrap_or(PRODUCER));
        ensure!(
            producer != Some(server),
            "--port and --producer-port are both {server}: the consumer and the producer need one each"
        );
        if let Some(owner) = owner(server) {
            let way_out = match chapter {
                1 => "end that program, because chapter 1 can't use another port".to_owned(),
                _ => way_out("--port", server),
            };
            bail!("port {server} is taken by {owner}; {way_out}");
        }
        if let Some((port, owner)) = producer.and_then(|port| Some((port, owner(port)?))) {
            let way_out = way_out("--producer-port", port);
            bail!("port {port}, for the producer, is taken by {owner}; {way_out}");
        }
        Ok(Self { server, producer })
    }
}

fn way_out(option: &str, port: u16) -> String {
    let other = port.checked_add(1).unwrap_or(port - 1);
    format!("end that program, or choose another port: {option} {other}")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn options(port: Option<u16>, producer_port: u16) -> Options {
        Options {
            chapter: None,
            live: false,
            rate: None,
            port,
            producer_port: Some(producer_port),
            broker: None,
            seconds: None,
        }
    }

    #[test]
    fn option_that_changes_nothing_in_a_chapter_is_refused() {
        let producer = options(None, 2113);
        let why = producer.have_an_effect(4).unwrap_err().to_string();
        assert!(why.starts_with("--producer-port is for chapter 5"), "{why}");
        producer.have_an_effect(5).unwrap();
        let live = Options { live: true, producer_port: None, ..producer };
        assert!(live.have_an_effect(1).is_err());
        live.have_an_effect(2).unwrap();
    }

    fn refusal(chapter: u8, options: &Options) -> String {
        Ports::of(chapter, options).err().unwrap().to_string()
    }

    #[test]
    fn taken_port_is_named_with_its_owner_and_the_option() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap().port();
        let us = format!("(pid {})", std::process::id());
        for (chapter, options, option) in [
            (2, options(Some(taken), 2112), "--port"),
            (5, options(Some(taken), 1), "--port"),
            (5, options(Some(free()), taken), "--producer-port"),
        ] {
            let text = refusal(chapter, &options);
            let other = format!("{option} {}", taken.wrapping_add(1));
            for part in [&format!("port {taken}"), &us, &other] {
                assert!(text.contains(part.as_str()), "{text}");
            }
        }
    }

    #[test]
    fn producer_has_a_port_from_the_split_on_and_it_is_its_own() {
        let (one, two) = (free(), free());
        let ports = Ports::of(4, &options(Some(one), one)).unwrap();
        assert_eq!((ports.server, ports.producer), (one, None));
        let ports = Ports::of(5, &options(Some(one), two)).unwrap();
        assert_eq!((ports.server, ports.producer), (one, Some(two)));
        assert!(refusal(5, &options(Some(one), one)).contains("one each"));
        assert!(refusal(1, &options(Some(one), two)).contains("always listens on port 7000"));
    }

    fn free() -> u16 {
        crate::ports::free_port().unwrap()
    }
}

//! Where the events come from: made from a seed, or captured in a file. Both know how each event counts.

use crate::replay::event::Event;
use crate::replay::generator::Generator;
use crate::replay::odd;
use crate::replay::options::Options;
use crate::replay::recording::Recording;

pub enum Source {
    Generated(Generator),
    Recorded(Recording),
}

impl Source {
    pub fn open(options: &Options) -> anyhow::Result<Self> {
        Ok(match &options.file {
            None => Self::Generated(Generator::from(options)),
            Some(path) => Self::Recorded(Recording::read(path)?),
        })
    }

    /// How many events there are; a seed never runs out.
    pub fn len(&self) -> u64 {
        match self {
            Self::Generated(_) => u64::MAX,
            Self::Recorded(recording) => recording.len(),
        }
    }

    /// Writes one event in the format of the stream.
    pub fn write_event(&self, position: u64, eol: &str, out: &mut Vec<u8>) -> Event {
        out.extend_from_slice(b"event: message");
        out.extend_from_slice(eol.as_bytes());
        out.extend_from_slice(b"id: ");
        match self {
            Self::Generated(generator) => generator.write_id(position, out),
            Self::Recorded(recording) => recording.write_id(position, out),
        }
        out.extend_from_slice(eol.as_bytes());
        out.extend_from_slice(b"data: ");
        let event = match self {
            Self::Generated(generator) => odd::write_data(generator, position, out),
            Self::Recorded(recording) => recording.write_data(position, eol, out),
        };
        out.extend_from_slice(eol.as_bytes());
        out.extend_from_slice(eol.as_bytes());
        event
    }

    /// The first position below `end` whose millisecond is not before the given one, or `end`.
    pub fn position_at(&self, ms: u64, end: u64) -> u64 {
        match self {
            Self::Generated(generator) => generator.clock.position_at(ms, end),
            Self::Recorded(recording) => recording.position_at(ms, end),
        }
    }

    pub fn domains(&self) -> usize {
        match self {
            Self::Generated(generator) => generator.domains(),
            Self::Recorded(recording) => recording.domains(),
        }
    }

    pub fn users(&self) -> usize {
        match self {
            Self::Generated(generator) => generator.users(),
            Self::Recorded(recording) => recording.users(),
        }
    }

    pub fn domain(&self, index: usize) -> &str {
        match self {
            Self::Generated(generator) => generator.domain(index),
            Self::Recorded(recording) => recording.domain(index),
        }
    }

    pub fn user(&self, index: usize) -> String {
        match self {
            Self::Generated(generator) => generator.user(index),
            Self::Recorded(recording) => recording.user(index).to_owned(),
        }
    }
}

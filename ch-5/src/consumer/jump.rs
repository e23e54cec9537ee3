//! Compares the offset of a message with the offset that was to come next. If they differ, it tells what has happened.

use tracing::warn;

use crate::consumer::group::Received;
use crate::counter::Counter;

/// What is between the offset that was to come next and the one that came.
#[derive(Debug, PartialEq)]
pub enum Jump {
    /// Nothing that matters: no messages, marks of transactions, or messages that compaction has deleted.
    No,
    /// So many messages that the broker has deleted, because they were too old or somebody asked for it.
    Gone(i64),
    /// So many messages that the totals contain already.
    Again(i64),
    /// The messages are those of another topic with the same name, or the broker has lost the end of the topic.
    New,
}

impl Jump {
    /// `is_first` says whether it is the first message after an assignment. The totals may be ahead of it then, because
    /// they are written before the offset is committed.
    pub fn before(next: i64, message: &Received, is_first: bool) -> Self {
        let (low, high) = message.watermarks.unwrap_or((0, i64::MAX));
        let gone = low.min(message.offset) - next;
        match next - message.offset {
            ..=0 if gone > 0 => Self::Gone(gone),
            ..=0 => Self::No,
            ahead if is_first && next <= high => Self::Again(ahead),
            _ => Self::New,
        }
    }

    pub fn tell(self, topic: &str, message: &Received, counter: &Counter) {
        let (partition, offset) = (message.partition, message.offset);
        match self {
            Self::No => {}
            Self::Gone(messages) => {
                let low = message.watermarks.map_or(offset, |(low, _)| low.min(offset));
                counter.add_all(messages.cast_unsigned());
                let (from, to) = (low - messages, low - 1);
                warn!(topic, partition, from, to, messages, "deleted before they were read");
            }
            Self::Again(events) => {
                warn!(topic, partition, events, "written and not committed, so counted again");
            }
            Self::New => warn!(
                topic,
                partition,
                offset,
                "the topic was made anew, or has lost its end; counted from here on"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    fn jump(next: i64, offset: i64, watermarks: Option<(i64, i64)>, is_first: bool) -> Jump {
        let event = Ok(Event::default());
        let message = Received { generation: 0, partition: 0, offset, watermarks, event };
        Jump::before(next, &message, is_first)
    }

    #[test]
    fn messages_are_gone_only_if_the_broker_does_not_have_their_offsets_any_more() {
        assert_eq!(jump(5, 5, Some((5, 9)), true), Jump::No);
        assert_eq!(jump(5, 8, Some((8, 9)), true), Jump::Gone(3));
        assert_eq!(jump(5, 8, Some((8, 9)), false), Jump::Gone(3));
        // More has been deleted since this message was fetched.
        assert_eq!(jump(5, 8, Some((50, 90)), false), Jump::Gone(3));
        // From 7 on, there are only marks of transactions.
        assert_eq!(jump(5, 8, Some((7, 9)), false), Jump::Gone(2));
        assert_eq!(jump(5, 8, Some((0, 9)), true), Jump::No);
        assert_eq!(jump(5, 8, None, false), Jump::No);
    }

    #[test]
    fn messages_that_come_again_are_told_from_those_of_a_new_topic() {
        assert_eq!(jump(7, 4, Some((0, 9)), true), Jump::Again(3));
        assert_eq!(jump(7, 0, Some((0, 3)), true), Jump::New);
        assert_eq!(jump(7, 0, Some((0, 9)), false), Jump::New);
        assert_eq!(jump(7, 0, None, false), Jump::New);
    }
}

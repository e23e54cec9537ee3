//! Takes what a stream has ready, in slices that are bounded in number and in bytes.

use futures_util::FutureExt;
use futures_util::Stream;
use futures_util::StreamExt;

/// The next item, and those after it that are there already: at most `most`, and no more after they have reached `bytes`.
/// `None` after the end of the stream.
pub async fn next<T>(
    stream: &mut (impl Stream<Item = T> + Unpin),
    most: usize,
    bytes: usize,
    size: impl Fn(&T) -> usize,
) -> Option<Vec<T>> {
    let mut slice = Vec::new();
    let mut sum = 0;
    let mut next = stream.next().await;
    while let Some(item) = next {
        sum += size(&item);
        slice.push(item);
        if slice.len() == most || sum >= bytes {
            break;
        }
        next = stream.next().now_or_never().flatten();
    }
    (!slice.is_empty()).then_some(slice)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn slice_is_bounded_in_items_and_in_bytes() {
        let mut lengths = Vec::new();
        for (size, count) in [(1, 11), (500, 3)] {
            let mut items = stream::iter(vec![(); count]);
            while let Some(slice) = next(&mut items, 10, 1000, |()| size).await {
                lengths.push(slice.len());
            }
        }
        assert_eq!(lengths, [10, 1, 2, 1]);
    }
}

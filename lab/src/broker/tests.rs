use super::*;

#[test]
fn lag_counts_from_what_is_still_there() {
    let partition = |low, high, committed| Partition { partition: 0, low, high, committed };
    assert_eq!(partition(0, 10, Some(7)).lag(), 3);
    assert_eq!(partition(0, 10, None).lag(), 10);
    assert_eq!(partition(4, 10, Some(2)).lag(), 6, "evicted before it was read");
    assert_eq!(partition(0, 10, Some(12)).lag(), 0, "the topic was made anew");
}

#[test]
fn eviction_is_a_sentence_with_topic_and_partition() {
    let line = r#"{"evicted":{"topic":"a.b","partition":3,"low":7,"high":90}}"#;
    let sentence = eviction(line).unwrap();
    for part in ["5 MiB", "first 7 records", "topic a.b, partition 3"] {
        assert!(sentence.contains(part), "{sentence}");
    }
    assert_eq!(eviction(r#"{"created":"a"}"#), None);
    assert_eq!(eviction("{"), None);
}

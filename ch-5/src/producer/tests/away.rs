//! A broker that is away, and the shutdown.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn broker_that_is_away_slows_the_reading_and_nothing_is_lost() {
    let cluster = cluster(1);
    let config = config(&cluster, &[]);
    let (count, read) = (45_000, Arc::default());
    let events = endless(1, &read).take(count);
    cluster.broker_down(1).unwrap();
    let shutdown = CancellationToken::new();
    let watching = async {
        // A slice that is on its way, one that waits, and an event for which there is no room.
        reading_stops(&read, SLICE, 2 * SLICE + 1).await;
        cluster.broker_up(1).unwrap();
    };
    let producing = produce(events, &config, &shutdown);
    tokio::join!(producing, watching).0.unwrap();
    assert_eq!(copies(&cluster, count), vec![1; count]);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_events_stop_the_reading_sooner() {
    let cluster = cluster(1);
    let config = config(&cluster, &[]);
    let (length, read) = (256 * 1024, Arc::default());
    let long = endless(1, &read).map(move |(mut event, place)| {
        event.title = Some("x".repeat(length));
        (event, place)
    });
    cluster.broker_down(1).unwrap();
    let (shutdown, most) = (CancellationToken::new(), BYTES / length + 1);
    tokio::select! {
        produced = produce(long, &config, &shutdown) => panic!("{produced:?}"),
        () = reading_stops(&read, most / 2, most) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_ends_the_wait_for_the_first_cursor() {
    let cluster = cluster(1);
    let config = config(&cluster, &[]);
    cluster.broker_down(1).unwrap();
    let (shutdown, read) = (CancellationToken::new(), Arc::default());
    let stop = async {
        reading_stops(&read, SLICE, 2 * SLICE + 1).await;
        shutdown.cancel();
        Instant::now()
    };
    let producing = produce_from(Resume::default(), endless(1, &read), &config, &shutdown);
    let (produced, stopped) = tokio::join!(producing, stop);
    produced.unwrap();
    assert!(stopped.elapsed() < Duration::from_secs(9));
    cluster.broker_up(1).unwrap();
    assert!(written(&cluster).is_empty(), "sent without a cursor");
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_while_the_broker_is_away_is_in_time_and_moves_no_cursor() {
    // The second time librdkafka's own queue is full first.
    for properties in [&[][..], &[("queue.buffering.max.messages", "1000")]] {
        let cluster = cluster(1);
        let config = config(&cluster, properties);
        write_cursor(&config, 10..11).await;
        cluster.broker_down(1).unwrap();
        let (shutdown, read) = (CancellationToken::new(), Arc::default());
        let stop = async {
            reading_stops(&read, SLICE, 2 * SLICE + 1).await;
            shutdown.cancel();
            Instant::now()
        };
        let producing = produce_from(place(10), endless(11, &read), &config, &shutdown);
        let (produced, stopped) = tokio::join!(producing, stop);
        produced.unwrap();
        assert!(stopped.elapsed() < Duration::from_secs(9));
        cluster.broker_up(1).unwrap();
        assert_eq!(cursor::read(&config).await.unwrap(), place(10));
    }
}

/// An answer takes so long that the shutdown comes before the first.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_before_a_shutdown_is_written_and_the_cursor_after_it() {
    let cluster = cluster(1);
    let config = config(&cluster, &[]);
    let delay = Duration::from_millis(100);
    cluster.broker_round_trip_time(1, delay).unwrap();
    let (shutdown, read) = (CancellationToken::new(), Arc::default());
    let events = endless(1, &read).take(1_000).chain(stream::pending());
    let stop = async {
        until("all is read", || read.load(Ordering::SeqCst) == 1_000).await;
        shutdown.cancel();
    };
    let producing = async { tokio::join!(produce(events, &config, &shutdown), stop).0 };
    let produced = timeout(Duration::from_secs(9), producing).await;
    produced.expect("in time").unwrap();
    assert_eq!(copies(&cluster, 1_000), [1; 1_000]);
    assert_eq!(cursor::read(&config).await.unwrap(), place(1_000));
}

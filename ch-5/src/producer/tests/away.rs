//! A broker that is away, and the shutdown.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn broker_that_is_away_slows_the_reading_and_nothing_is_lost() {
    let (cluster, config) = setup(1, &[]);
    cluster.broker_down(1).unwrap();
    let (shutdown, read) = (CancellationToken::new(), Arc::<AtomicUsize>::default());
    let watching = async {
        // A slice that is on its way, one that waits, and a piece for which there is no room.
        reading_stops(&read, SLICE, 2 * SLICE + PIECE).await;
        cluster.broker_up(1).unwrap();
    };
    let many = counted(events(1..=45_000), Arc::clone(&read));
    let producing = produce(place(0), many, &config, &shutdown);
    tokio::join!(producing, watching).0.unwrap();
    assert_eq!(copies(&config, 45_000), [1; 45_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_events_stop_the_reading_sooner() {
    let (cluster, config) = setup(1, &[]);
    cluster.broker_down(1).unwrap();
    let (shutdown, read, length) = (CancellationToken::new(), Arc::default(), 256 * 1024);
    let long = stream::iter((1..).map(move |number| long_event(number, length)));
    let producing = produce(place(0), counted(long, Arc::clone(&read)), &config, &shutdown);
    // Of each, there are at least a payload and a copy of it, with room for a longer one.
    let most = BYTES / (2 * length) + PIECE;
    tokio::select! {
        produced = producing => panic!("{produced:?}"),
        () = reading_stops(&read, most / 2, most) => {}
    }
}

/// The second time librdkafka's own queue is full first. The third time the producer waits for its first cursor.
#[tokio::test(flavor = "multi_thread")]
async fn shutdown_while_the_broker_is_away_is_in_time_and_moves_no_cursor() {
    let full = [("queue.buffering.max.messages", "1000")];
    for (from, properties) in [(place(10), &[][..]), (place(10), &full), (Resume::default(), &[])] {
        let (cluster, config) = setup(1, properties);
        write_cursors(&config, [from.clone()]).await;
        cluster.broker_down(1).unwrap();
        let (shutdown, read) = (CancellationToken::new(), Arc::<AtomicUsize>::default());
        let stop = async {
            reading_stops(&read, SLICE, 2 * SLICE + PIECE).await;
            shutdown.cancel();
            Instant::now()
        };
        let more = counted(events(11..=usize::MAX), Arc::clone(&read));
        let producing = produce(from.clone(), more, &config, &shutdown);
        let (produced, stopped) = tokio::join!(producing, stop);
        produced.unwrap();
        assert!(stopped.elapsed() < Duration::from_secs(9));
        cluster.broker_up(1).unwrap();
        assert_eq!(read_cursor(&config).await, from);
    }
}

/// The queue of librdkafka has no room for all that were refused and are sent again. An answer takes so long that the
/// broker goes away in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn shutdown_while_refused_messages_wait_for_a_broker_is_in_time_and_moves_no_cursor() {
    let (cluster, config) = setup(1, &[("queue.buffering.max.messages", "10")]);
    write_cursors(&config, [place(10)]).await;
    cluster.broker_round_trip_time(1, Duration::from_millis(200)).unwrap();
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    cluster.request_errors(RDKafkaApiKey::Produce, &[refusal; 1_000]);
    let (shutdown, counters, health) =
        (CancellationToken::new(), Counters::default(), Health::default());
    let writer = Writer::new(&config, &counters, &health).unwrap();
    let stop = async {
        until("some are sent again", || writer.alone.initialized()).await;
        cluster.broker_down(1).unwrap();
        cluster.clear_request_errors(RDKafkaApiKey::Produce);
        shutdown.cancel();
        Instant::now()
    };
    let more = events(11..=5_000).chain(stream::pending());
    let producing = super::super::produce(more, place(10), &writer, &shutdown);
    let (produced, stopped) = tokio::join!(producing, stop);
    produced.unwrap();
    writer.close().await;
    assert!(stopped.elapsed() < Duration::from_secs(9));
    cluster.broker_up(1).unwrap();
    assert_eq!(read_cursor(&config).await, place(10));
}

/// An answer takes so long that the shutdown comes before the first.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_before_a_shutdown_is_written_and_the_cursor_after_it() {
    let (cluster, config) = setup(1, &[]);
    cluster.broker_round_trip_time(1, Duration::from_millis(100)).unwrap();
    let (shutdown, read) = (CancellationToken::new(), Arc::<AtomicUsize>::default());
    let thousand = counted(events(1..=1_000), Arc::clone(&read)).chain(stream::pending());
    let stop = async {
        until("all is read", || read.load(Ordering::SeqCst) == 1_000).await;
        shutdown.cancel();
    };
    let producing = produce(place(0), thousand, &config, &shutdown);
    let producing = async { tokio::join!(producing, stop).0 };
    timeout(Duration::from_secs(9), producing).await.expect("in time").unwrap();
    assert_eq!(copies(&config, 1_000), [1; 1_000]);
    assert_eq!(read_cursor(&config).await, place(1_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_that_acknowledges_nothing_is_told_until_it_does() {
    let (cluster, config) = setup(1, &[("retry.backoff.max.ms", "100")]);
    let too_few = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    cluster.request_errors(RDKafkaApiKey::Produce, &[too_few; 100_000]);
    let (shutdown, counters, health) =
        (CancellationToken::new(), Counters::default(), Health::default());
    let writer = Writer::new(&config, &counters, &health).unwrap();
    let watching = async {
        until("it is told", || health.ready().is_err()).await;
        cluster.clear_request_errors(RDKafkaApiKey::Produce);
        until("it is told no more", || health.ready().is_ok()).await;
        shutdown.cancel();
    };
    let more = events(1..=10).chain(stream::pending());
    let producing = super::super::produce(more, place(0), &writer, &shutdown);
    tokio::join!(producing, watching).0.unwrap();
    writer.close().await;
    assert_eq!(copies(&config, 10), [1; 10]);
}

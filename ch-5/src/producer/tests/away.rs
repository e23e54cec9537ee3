//! A broker that is away, and the shutdown.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn broker_that_is_away_slows_the_reading_and_nothing_is_lost() {
    let (cluster, config) = setup(1, "");
    cluster.broker_down(1).unwrap();
    let (shutdown, read) = (CancellationToken::new(), Arc::<AtomicUsize>::default());
    let watching = async {
        // A slice that is on its way, one that waits, and a piece for which there is no room.
        reading_stops(&read, SLICE, 2 * SLICE + PIECE).await;
        cluster.broker_up(1).unwrap();
    };
    let many = counted(events(1..=12_000), Arc::clone(&read));
    let producing = produce(place(0), many, &config, &shutdown);
    tokio::join!(producing, watching).0.unwrap();
    assert_eq!(copies(&config, 12_000), [1; 12_000]);
}

/// The second time the producer waits for its first cursor.
#[tokio::test(flavor = "multi_thread")]
async fn shutdown_while_the_broker_is_away_is_in_time_and_moves_no_cursor() {
    for (from, most) in [(place(10), 2 * SLICE + PIECE), (Resume::default(), 1)] {
        let (cluster, config) = setup(1, "");
        write_cursors(&config, [from.clone()]).await;
        cluster.broker_down(1).unwrap();
        let (shutdown, read) = (CancellationToken::new(), Arc::<AtomicUsize>::default());
        let stop = async {
            reading_stops(&read, most.min(SLICE), most).await;
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

/// The second time it is the first cursor that is not acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn broker_that_acknowledges_nothing_is_told_until_it_does() {
    for from in [place(0), Resume::default()] {
        let (cluster, config) = setup(1, "retry.backoff.max.ms=100");
        let too_few = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
        cluster.request_errors(RDKafkaApiKey::Produce, &[too_few; 100_000]);
        let (shutdown, writer) = (CancellationToken::new(), writer(&config));
        let watching = async {
            until("it is told", || writer.health.lacking().is_some()).await;
            cluster.clear_request_errors(RDKafkaApiKey::Produce);
            until("all are written", || writer.counters.acknowledged.total() == 10).await;
            until("it is told no more", || writer.health.lacking().is_none()).await;
            shutdown.cancel();
        };
        let more = events(1..=10).chain(stream::pending());
        let producing = super::super::produce(more, from, &writer, &shutdown);
        tokio::join!(producing, watching).0.unwrap();
        writer.close().await;
        assert_eq!(copies(&config, 10), [1; 10]);
    }
}

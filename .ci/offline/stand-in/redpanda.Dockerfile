# The stand-in for redpandadata/redpanda: Apache Kafka; its context holds Maven's jars, see ../stand-ins.
FROM stand-in-base:bookworm
COPY libs-kafka-4.1.0 /opt/kafka/libs
COPY log4j2.xml /opt/kafka/
COPY rpk /usr/local/bin/rpk
VOLUME /var/lib/redpanda/data
EXPOSE 9092
ENTRYPOINT ["/usr/local/bin/rpk"]

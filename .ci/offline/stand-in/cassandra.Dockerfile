# The stand-in for cassandra:5.0.5; its context holds Maven's jars, see ../stand-ins.
FROM stand-in-base:bookworm
COPY libs-5.0.5 /opt/cassandra/libs
COPY logback.xml cassandra-start /opt/cassandra/
COPY cqlsh /usr/local/bin/cqlsh
VOLUME /var/lib/cassandra
EXPOSE 7000 9042
ENTRYPOINT ["/opt/cassandra/cassandra-start"]

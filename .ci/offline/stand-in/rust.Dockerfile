# The stand-in for rust:1.95-bookworm; its context is the toolchain of the machine that builds it, see ../stand-ins.
FROM stand-in-base:bookworm
COPY bin /usr/local/rust/bin
COPY lib /usr/local/rust/lib
COPY config.toml /usr/local/cargo/config.toml
ENV CARGO_HOME=/usr/local/cargo
ENV PATH=/usr/local/cargo/bin:/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

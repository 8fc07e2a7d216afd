//! Sealing and opening: what one datagram costs, by suite, backend and size.
//!
//! In place, with a lane's key, as a worker does it; the header is the associated data. Opening includes a copy of the
//! sealed bytes, since it destroys them.

#[path = "support/rates.rs"]
mod rates;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rates::Rates;
use weft_vtep::seal::suite::{Backend, Cipher, Key, Suite};
use weft_vtep::wire::sealed::{Header, Kind, TAG};

/// VXLAN header, Ethernet header and: the smallest frame, a full inner MTU over 1,500 bytes, one over 9,000.
const SIZES: [usize; 3] = [8 + 60, 8 + 14 + 1418, 8 + 14 + 8918];

const WAYS: [(&str, Backend, Suite); 3] = [
    ("aes-256-gcm aws-lc-rs", Backend::AwsLc, Suite::Aes256Gcm),
    ("chacha20-poly1305 aws-lc-rs", Backend::AwsLc, Suite::ChaCha20Poly1305),
    ("chacha20-poly1305 pure", Backend::Pure, Suite::ChaCha20Poly1305),
];

fn header(counter: u64) -> Header {
    Header { kind: Kind::Data, lane: 3, index: 0x1234_5678, counter }
}

fn seal(criterion: &mut Criterion<Rates>) {
    let mut group = criterion.benchmark_group("seal");
    for (name, backend, suite) in WAYS {
        let cipher = Cipher::with(backend, suite, &Key::new([7; 32]));
        for size in SIZES {
            let (mut text, mut counter) = (vec![0x5a; size], 0);
            group.throughput(rates::frames(1, size));
            group.bench_function(BenchmarkId::new(name, format!("{size} B")), |bencher| {
                bencher.iter(|| {
                    counter += 1;
                    let header = header(counter);
                    black_box(cipher.seal(header.nonce(), &header.write(), black_box(&mut text)))
                });
            });
        }
    }
    group.finish();
}

fn open(criterion: &mut Criterion<Rates>) {
    let mut group = criterion.benchmark_group("open");
    for (name, backend, suite) in WAYS {
        let cipher = Cipher::with(backend, suite, &Key::new([7; 32]));
        for size in SIZES {
            let (header, mut sealed) = (header(1), vec![0x5a; size]);
            let tag = cipher.seal(header.nonce(), &header.write(), &mut sealed);
            sealed.extend(tag);
            let mut datagram = vec![0; size + TAG];
            group.throughput(rates::frames(1, size));
            group.bench_function(BenchmarkId::new(name, format!("{size} B")), |bencher| {
                bencher.iter(|| {
                    datagram.copy_from_slice(&sealed);
                    cipher.open(header.nonce(), &header.write(), black_box(&mut datagram)).expect("it is sound");
                });
            });
        }
    }
    group.finish();
}

criterion_group!(name = benches; config = rates::criterion(); targets = seal, open);
criterion_main!(benches);

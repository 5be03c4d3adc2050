//! Writes a sine wave, a sample per second for the last ten minutes:
//! `cargo run -p bellwether-client --example write -- 127.0.0.1:9481`

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bellwether_client::{Client, WriterOptions, series};

#[tokio::main]
#[expect(clippy::disallowed_methods, reason = "an example is its own whole world")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9481".to_owned());
    let client = Client::builder().addresses([address]).timeout(Duration::from_secs(10)).build()?;
    let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;

    let writer = client.writer(WriterOptions::default());
    for second in 0..600 {
        let timestamp_ms = now_ms - 600_000 + second * 1000;
        for wave in ["slow", "fast"] {
            let period_s = if wave == "slow" { 300.0 } else { 60.0 };
            let value = (second as f64 / period_s * std::f64::consts::TAU).sin();
            writer.append(series([("__name__", "example_wave"), ("wave", wave)], [(timestamp_ms, value)])).await?;
        }
    }
    let stats = writer.close().await?;
    println!("{} samples written in {} batches, {} refused", stats.written, stats.batches, stats.refused);
    if let Some(reason) = stats.refused_because {
        println!("refused: {reason}");
    }
    Ok(())
}

//! Asks for the newest value of every series of an expression:
//! `cargo run -p bellwether-client --example query -- 127.0.0.1:9481 'sum by (wave) (example_wave)'`

use bellwether_client::{Client, Value};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9481".to_owned());
    let query = arguments.next().unwrap_or_else(|| "up".to_owned());

    let client = Client::builder().addresses([address]).build()?;
    let answer = client.instant(&query, None).await?;
    for warning in &answer.warnings {
        eprintln!("warning: {warning}");
    }
    match answer.value {
        Value::Scalar(sample) => println!("{}", sample.value),
        Value::Text { value, .. } => println!("{value}"),
        Value::Vector(series) | Value::Matrix(series) => {
            for one in series {
                let labels: Vec<String> =
                    one.labels.iter().map(|label| format!("{}={:?}", label.name, label.value)).collect();
                let newest = one.samples.last().map(|sample| sample.value.to_string());
                // A series whose newest sample is a histogram.
                let newest = newest.unwrap_or_else(|| format!("{:?}", one.histograms.last()));
                println!("{{{}}} {newest}", labels.join(", "));
            }
        }
    }
    Ok(())
}

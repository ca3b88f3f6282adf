/// One metric with all its labelled values.
public struct MetricFamily: Sendable, Equatable {
  public enum Kind: String, Sendable { case counter, gauge, histogram }

  public struct Sample: Sendable, Equatable {
    /// After the family's name: `_bucket`, `_sum`, `_count` of a histogram.
    var suffix = ""
    var labels: [(name: String, value: String)]
    var value: Double

    public static func == (left: Self, right: Self) -> Bool {
      left.suffix == right.suffix && left.value == right.value && left.labels.elementsEqual(right.labels, by: ==)
    }
  }

  public let name: String
  public let help: String
  public let kind: Kind
  public internal(set) var samples: [Sample] = []

  public init(_ name: String, _ kind: Kind, _ help: String) { (self.name, self.kind, self.help) = (name, kind, help) }

  public mutating func add(_ value: Double, _ labels: (name: String, value: String)...) {
    samples.append(Sample(labels: labels, value: value))
  }

  mutating func add(_ histogram: Histogram, _ label: (name: String, value: String)) {
    for (bound, count) in zip(Histogram.bounds, histogram.cumulative) {
      samples.append(
        Sample(suffix: "_bucket", labels: [label, ("le", PrometheusText.number(bound))], value: Double(count)))
    }
    samples.append(Sample(suffix: "_bucket", labels: [label, ("le", "+Inf")], value: Double(histogram.count)))
    samples.append(Sample(suffix: "_sum", labels: [label], value: histogram.sum))
    samples.append(Sample(suffix: "_count", labels: [label], value: Double(histogram.count)))
  }
}

/// How long something took, in seconds, as Prometheus counts it.
struct Histogram: Sendable, Equatable {
  /// From the handshake floor to the hard limit of a pause.
  static let bounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

  /// Observations up to each bound.
  private(set) var cumulative = [Int](repeating: 0, count: bounds.count)
  private(set) var count = 0
  private(set) var sum = 0.0

  mutating func observe(_ seconds: Double) {
    for (index, bound) in Histogram.bounds.enumerated() where seconds <= bound { cumulative[index] += 1 }
    count += 1
    sum += seconds
  }
}

/// Prometheus' text format, version 0.0.4 (prometheus.io, "Exposition formats").
public enum PrometheusText {
  public static let contentType = "text/plain; version=0.0.4; charset=utf-8"

  /// A family without samples is left out.
  public static func render(_ families: [MetricFamily]) -> String {
    var text = ""
    for family in families where !family.samples.isEmpty {
      text += "# HELP \(family.name) \(escaped(family.help, quotes: false))\n"
      text += "# TYPE \(family.name) \(family.kind.rawValue)\n"
      for sample in family.samples {
        let labels = sample.labels.map { "\($0.name)=\"\(escaped(bounded($0.value), quotes: true))\"" }
        text += family.name + sample.suffix
        if !labels.isEmpty { text += "{\(labels.joined(separator: ","))}" }
        text += " \(number(sample.value))\n"
      }
    }
    return text
  }

  static func number(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    return value == value.rounded() && value.magnitude < 1e15 ? String(Int64(value)) : String(value)
  }

  private static func escaped(_ text: String, quotes: Bool) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": result += #"\\"#
      case "\n": result += #"\n"#
      case "\"" where quotes: result += #"\""#
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  /// Names come from xenstore: bounded, and without what would disturb who reads the text by eye.
  private static func bounded(_ text: String) -> String {
    let scalars = text.unicodeScalars.prefix(128).map { scalar -> Unicode.Scalar in
      scalar.properties.generalCategory == .control && scalar != "\n" ? "?" : scalar
    }
    return String(String.UnicodeScalarView(scalars))
  }
}

/// A name that no epoch of a guest has, or more than one.
public struct UnknownEpoch: Error, Hashable, Sendable {
  /// What follows the guest's name in a message: `has no epoch 9; it has 1, 2`.
  public let text: String
}

extension EpochOverview {
  /// How many alternatives a message names.
  private static let alternatives = 8

  /// The number of the epoch that is meant. Epochs whose manifest cannot be read count, but for times.
  public func resolve(_ reference: EpochReference) throws(UnknownEpoch) -> Int {
    let numbers = allNumbers.sorted()
    guard let oldest = numbers.first else { throw UnknownEpoch(text: "has no epochs") }
    switch reference {
    case .number(let number):
      if numbers.contains(number) { return number }
      throw UnknownEpoch(text: "has no epoch \(number); it has \(Self.nearest(to: number, of: numbers))")
    case .newest(let back):
      if 1...numbers.count ~= back { return numbers[numbers.count - back] }
      throw UnknownEpoch(
        text: "has no epoch -\(back); it has \(Self.count(numbers.count)), -\(numbers.count) is epoch \(oldest)")
    case .tag(let tag): return try resolve(tag: tag)
    case .time(let time): return try resolve(time)
    }
  }

  private func resolve(tag: String) throws(UnknownEpoch) -> Int {
    let tagged = allNumbers.filter { tags($0).contains(tag) }.sorted()
    if tagged.count == 1 { return tagged[0] }
    guard tagged.isEmpty else {
      throw UnknownEpoch(
        text: "has \(tagged.count) epochs tagged '\(tag)': "
          + "\(tagged.suffix(Self.alternatives).map(String.init).joined(separator: ", ")); say which by its number")
    }
    let known = Set(allNumbers.flatMap(tags))
    guard !known.isEmpty else { throw UnknownEpoch(text: "has no epoch tagged '\(tag)'; none of its epochs has a tag") }
    let near = known.sorted { (tag.distance(to: $0), $0) < (tag.distance(to: $1), $1) }.prefix(Self.alternatives)
    throw UnknownEpoch(text: "has no epoch tagged '\(tag)'; its tags are \(near.joined(separator: ", "))")
  }

  private func resolve(_ time: EpochTime) throws(UnknownEpoch) -> Int {
    func isOlder(_ left: EpochSummary, _ right: EpochSummary) -> Bool {
      (left.time, left.epoch) < (right.time, right.epoch)
    }
    if let found = epochs.filter({ $0.time <= time }).max(by: isOlder) { return found.epoch }
    guard let oldest = epochs.min(by: isOlder) else {
      throw UnknownEpoch(text: "has no epoch whose time can be read")
    }
    throw UnknownEpoch(
      text: "has no epoch at or before \(time); its oldest is epoch \(oldest.epoch) of \(oldest.time)")
  }

  private static func nearest(to number: Int, of numbers: [Int]) -> String {
    let near = numbers.sorted { (abs($0 - number), $0) < (abs($1 - number), $1) }.prefix(alternatives).sorted()
    let text = near.map(String.init).joined(separator: ", ")
    return near.count < numbers.count ? "\(count(numbers.count)), the nearest are \(text)" : text
  }

  private static func count(_ epochs: Int) -> String { "\(epochs) epoch\(epochs == 1 ? "" : "s")" }
}

extension String {
  /// Letters to change, add or drop to get from one word to the other.
  fileprivate func distance(to other: String) -> Int {
    let other = Array(other.utf8)
    var row = Array(0...other.count)
    for (line, letter) in utf8.enumerated() {
      var diagonal = row[0]
      row[0] = line + 1
      for column in other.indices {
        let change = diagonal + (letter == other[column] ? 0 : 1)
        diagonal = row[column + 1]
        row[column + 1] = Swift.min(change, row[column] + 1, diagonal + 1)
      }
    }
    return row[other.count]
  }
}

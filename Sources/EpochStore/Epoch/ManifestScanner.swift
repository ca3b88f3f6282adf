/// Finds the few members of a manifest that a list wants, without decoding the rest: a guest can have ten thousand. Knows the plain
/// form that `ManifestFile.encode` writes; for anything else (an escape in a name, a member twice) it gives up, and the caller
/// decodes the manifest.
struct ManifestScanner {
  private let bytes: UnsafeRawBufferPointer
  private var next = 0

  /// The summary of a manifest whose checksum has been proved.
  static func summary(of manifest: UnsafeRawBufferPointer) -> EpochSummary? {
    var scanner = ManifestScanner(bytes: manifest)
    return scanner.summary()
  }

  /// A verdict whose checksum has been proved and that names no damage; nil for any other.
  static func soundVerdict(of verdict: UnsafeRawBufferPointer) -> EpochVerdict? {
    var scanner = ManifestScanner(bytes: verdict)
    return scanner.soundVerdict()
  }

  private init(bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  private mutating func soundVerdict() -> EpochVerdict? {
    var (epoch, count): (Int?, Int?)
    var (time, fullTime): (EpochTime?, EpochTime?)
    var (share, method, damage): (Double?, String?, [Int]?)
    let isWhole = members { scanner, name in
      switch name.count {
      case 4 where name == "time": scanner.once(&time) { $0.plainText().flatMap(EpochTime.init(utf8:)) }
      case 5 where name == "epoch": scanner.once(&epoch) { $0.integer() }
      case 5 where name == "share": scanner.once(&share) { $0.number() }
      case 6 where name == "method": scanner.once(&method) { $0.string() }
      // Only the empty list is one of numbers.
      case 6 where name == "damage": scanner.once(&damage) { $0.list { $0.integer() } }
      case 9 where name == "full_time": scanner.once(&fullTime) { $0.plainText().flatMap(EpochTime.init(utf8:)) }
      case 12 where name == "damage_count": scanner.once(&count) { $0.integer() }
      default: scanner.skipValue()
      }
    }
    guard isWhole, let epoch, let time, let method = VerifyMethod(method ?? "", share: share), damage == [], count == 0
    else { return nil }
    return EpochVerdict(
      epoch: epoch, time: time, method: method, damage: [], damageCount: 0, fullTime: fullTime)
  }

  private mutating func summary() -> EpochSummary? {
    var (format, epoch, bytes): (Int?, Int?, Int?)
    var (guest, uuid, file): (String?, String?, String?)
    var time: EpochTime?
    var (pause, stop): (Double?, Double?)
    var (disks, needs): ([String]?, [Int]?)
    let isWhole = members { scanner, name in
      switch name.count {
      case 4 where name == "time": scanner.once(&time) { $0.plainText().flatMap(EpochTime.init(utf8:)) }
      case 4 where name == "uuid": scanner.once(&uuid) { $0.string() }
      case 4 where name == "file": scanner.once(&file) { $0.string() }
      case 5 where name == "guest": scanner.once(&guest) { $0.string() }
      case 5 where name == "epoch": scanner.once(&epoch) { $0.integer() }
      case 5 where name == "bytes": scanner.once(&bytes) { $0.integer() }
      case 5 where name == "disks": scanner.once(&disks) { $0.list { $0.disk() }?.compactMap(\.self) }
      case 5 where name == "needs": scanner.once(&needs) { $0.list { $0.integer() } }
      case 6 where name == "format": scanner.once(&format) { $0.integer() }
      case 7 where name == "stop_ms": scanner.once(&stop) { $0.number() }
      case 8 where name == "pause_ms": scanner.once(&pause) { $0.number() }
      default: scanner.skipValue()
      }
    }
    guard isWhole, format == EpochFormat.version, let epoch, let bytes, let guest, let uuid, let file, let time,
      let pause, let stop, let disks, let needs, file == EpochName.file(epoch)
    else { return nil }
    return EpochSummary(
      epoch: epoch, guest: guest, uuid: uuid, time: time, pauseMs: pause, stopMs: stop, bytes: UInt64(bytes),
      disks: disks, needs: needs)
  }

  /// The name of a disk that has a snapshot; the inner nil for one that has none.
  private mutating func disk() -> String?? {
    var name: String?
    var hasSnapshot = false
    let isWhole = members { scanner, member in
      if member == "vdev" { return scanner.once(&name) { $0.string() } }
      if member == "thin_id" { hasSnapshot = true }
      return scanner.skipValue()
    }
    guard isWhole, let name else { return nil }
    return .some(hasSnapshot ? name : nil)
  }

  // MARK: JSON

  /// An object: calls `body` at each value, which must move past it.
  private mutating func members(_ body: (inout ManifestScanner, MemberName) -> Bool) -> Bool {
    guard take("{") else { return false }
    if take("}") { return true }
    repeat {
      guard let name = plainText(), take(":"), body(&self, MemberName(bytes: name)) else { return false }
    } while take(",")
    return take("}")
  }

  private mutating func list<Element>(_ element: (inout ManifestScanner) -> Element?) -> [Element]? {
    guard take("[") else { return nil }
    var elements: [Element] = []
    if take("]") { return elements }
    repeat {
      guard let one = element(&self) else { return nil }
      elements.append(one)
    } while take(",")
    return take("]") ? elements : nil
  }

  /// Reads a value into a place that has none yet.
  private mutating func once<Value>(_ place: inout Value?, _ read: (inout ManifestScanner) -> Value?) -> Bool {
    guard place == nil, let value = read(&self) else { return false }
    place = value
    return true
  }

  private mutating func string() -> String? { plainText().map { String(decoding: $0, as: UTF8.self) } }

  /// A string without escapes.
  private mutating func plainText() -> UnsafeRawBufferPointer? {
    guard take("\"") else { return nil }
    let start = next
    var place = next
    while place < bytes.count, bytes[place] != UInt8(ascii: "\"") {
      if bytes[place] == UInt8(ascii: "\\") { return nil }
      place += 1
    }
    guard place < bytes.count else { return nil }
    next = place + 1
    return UnsafeRawBufferPointer(rebasing: bytes[start..<place])
  }

  /// Digits only, at most eighteen.
  private mutating func integer() -> Int? {
    skipSpace()
    let start = next
    var value = 0
    while next < bytes.count, UInt8(ascii: "0")...UInt8(ascii: "9") ~= bytes[next], next - start < 18 {
      value = value * 10 + Int(bytes[next] - UInt8(ascii: "0"))
      next += 1
    }
    guard next > start, next < bytes.count, Self.ends(bytes[next]) else { return nil }
    return value
  }

  private mutating func number() -> Double? {
    skipSpace()
    let start = next
    while next < bytes.count, !Self.ends(bytes[next]) { next += 1 }
    return Double(Substring(decoding: bytes[start..<next], as: UTF8.self))
  }

  /// Most of a manifest goes through here, byte by byte.
  private mutating func skipValue() -> Bool {
    skipSpace()
    var depth = 0
    var place = next
    defer { next = place }
    while place < bytes.count {
      let byte = bytes[place]
      if byte == UInt8(ascii: "\"") {
        guard let end = endOfText(place) else { return false }
        place = end
        if depth == 0 { return true }
        continue
      }
      if depth == 0, Self.ends(byte) { return true }
      place += 1
      if byte == UInt8(ascii: "\n") { place = afterIndentation(place) }
      // Brackets and braces differ in one bit.
      if byte | 0x20 == UInt8(ascii: "{") {
        depth += 1
      } else if byte | 0x20 == UInt8(ascii: "}") {
        depth -= 1
        if depth == 0 { return true }
      }
    }
    return false
  }

  /// Half of a manifest is blanks at the beginning of lines.
  private func afterIndentation(_ start: Int) -> Int {
    var place = start
    while place + 4 <= bytes.count,
      bytes.loadUnaligned(fromByteOffset: place, as: UInt32.self) == 0x2020_2020
    {
      place += 4
    }
    return place
  }

  /// Where the string that begins at `start` is over.
  private func endOfText(_ start: Int) -> Int? {
    var place = start + 1
    while place < bytes.count {
      let byte = bytes[place]
      if byte == UInt8(ascii: "\"") { return place + 1 }
      place += byte == UInt8(ascii: "\\") ? 2 : 1
    }
    return nil
  }

  private mutating func take(_ wanted: Unicode.Scalar) -> Bool {
    skipSpace()
    guard next < bytes.count, bytes[next] == UInt8(ascii: wanted) else { return false }
    next += 1
    return true
  }

  private mutating func skipSpace() {
    while next < bytes.count, Self.isSpace(bytes[next]) { next += 1 }
  }

  private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 }

  private static func ends(_ byte: UInt8) -> Bool {
    isSpace(byte) || byte == UInt8(ascii: ",") || byte == UInt8(ascii: "}") || byte == UInt8(ascii: "]")
  }

  /// The name of a member, compared without making a string of it.
  private struct MemberName {
    let bytes: UnsafeRawBufferPointer
    var count: Int { bytes.count }

    static func == (left: MemberName, right: StaticString) -> Bool {
      left.count == right.utf8CodeUnitCount
        && left.bytes.elementsEqual(UnsafeRawBufferPointer(start: right.utf8Start, count: right.utf8CodeUnitCount))
    }
  }
}

import FoundationEssentials
import Glibc

/// What every fuzzer of this folder needs.
public enum Fuzz {
  /// The input's bytes, copied: the reader must not depend on what stands behind them.
  public static func bytes(_ data: UnsafePointer<UInt8>, _ count: Int) -> [UInt8] {
    Array(UnsafeBufferPointer(start: data, count: count))
  }

  /// A new folder where `run` says, or in memory.
  public static func scratchFolder() -> String {
    let parent = getenv("FUZZ_SCRATCH").map { String(cString: $0) } ?? "/dev/shm"
    var template = Array("\(parent)/ckpt-fuzz-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { fatalError("mkdtemp: errno \(errno)") }
    return template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
  }

  /// When asked for with FUZZ_SEEDS, writes the inputs to begin with into that folder and ends the process.
  public static func offer(seeds: () -> [[UInt8]]) {
    guard let folder = getenv("FUZZ_SEEDS") else { return }
    for (number, seed) in seeds().enumerated() {
      do { try Data(seed).write(to: URL(filePath: String(cString: folder) + "/seed-\(number)")) } catch {
        fatalError("\(error)")
      }
    }
    exit(0)
  }

  /// A promise of the reader that does not hold, told like a crash.
  public static func expect(_ condition: Bool, _ what: @autoclosure () -> String) {
    guard condition else { fatalError(what()) }
  }
}

extension [UInt8] {
  /// Little endian, at a place that the caller knows to be there.
  public func little<T: FixedWidthInteger>(_ offset: Int, _: T.Type) -> T {
    withUnsafeBytes { T(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: T.self)) }
  }

  public mutating func setLittle<T: FixedWidthInteger>(_ offset: Int, _ value: T) {
    Swift.withUnsafeBytes(of: value.littleEndian) { replaceSubrange(offset..<(offset + $0.count), with: $0) }
  }
}

import EpochStore
import Glibc

/// What an earlier export left in a file, up to its last sound chunk.
struct BegunBundle {
  let reader: BundleReader
  /// nil where there is none yet.
  let description: BundleDescription?

  /// Reads it; changes nothing.
  ///
  /// - Parameter descriptor: at its beginning.
  /// - Returns: nil when there is nothing worth keeping.
  /// - Throws: ``CarryError/cannotResume(file:_:)`` for what no export of this epoch wrote.
  static func find(
    _ descriptor: Int32, file: String, header: BundleHeader, _ cancellation: TakeCancellation
  ) throws -> BegunBundle? {
    guard isRegular(descriptor) else { throw CarryError.cannotResume(file: file, "it is no regular file") }
    let reader: BundleReader
    let input = DescriptorInput([], descriptor, cancellation)
    do { reader = try BundleReader(read: input.read) } catch let error as BundleError {
      try cancellation.check()
      guard isBeginning(descriptor, of: header) else { throw CarryError.cannotResume(file: file, "\(error)") }
      return nil
    }
    guard reader.header == header else {
      throw CarryError.cannotResume(file: file, "it is of another epoch, or builds on another")
    }
    let description = try read(reader, file)
    try cancellation.check()
    return BegunBundle(reader: reader, description: description)
  }

  private static func read(_ reader: BundleReader, _ file: String) throws -> BundleDescription? {
    var description: BundleDescription?
    do {
      while let item = try reader.next() {
        guard case .description(let bytes) = item else { continue }
        description = BundleDescription(decoding: bytes, of: reader.header)
        guard description != nil else { throw CarryError.cannotResume(file: file, "its description makes no sense") }
      }
    } catch is BundleError {
      // From there on it is written anew.
    }
    return description
  }

  /// The file holds less than a header, all of it of ours: another's is not to be written over.
  private static func isBeginning(_ descriptor: Int32, of header: BundleHeader) -> Bool {
    var bytes = [UInt8](repeating: 0, count: BundleFormat.headerBytes)
    let count = bytes.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, $0.count, 0) }
    return 0..<bytes.count ~= count && header.begins(with: bytes.prefix(count))
  }
}

import DeviceMapper

/// What `thin_delta` says of two volumes of the fake kernel: a block of 64 KiB that is all zero is not mapped.
enum FakeDelta {
  static func text(_ kernel: FakePool.Kernel, _ older: ThinID, _ younger: ThinID) -> String {
    let (old, new) = (blocks(kernel.contents[older]), blocks(kernel.contents[younger]))
    var lines = ["<superblock uuid=\"\">", "<diff left=\"\(older)\" right=\"\(younger)\">"]
    for index in 0..<max(old.count, new.count) {
      let (left, right) = (index < old.count ? old[index] : nil, index < new.count ? new[index] : nil)
      let name: String? =
        switch (left, right) {
        case (nil, nil): nil
        case (nil, _): "right_only"
        case (_, nil): "left_only"
        case (let left, let right): left == right ? "same" : "different"
        }
      if let name { lines.append("  <\(name) begin=\"\(index)\" length=\"1\"/>") }
    }
    return (lines + ["</diff>", "</superblock>", ""]).joined(separator: "\n")
  }

  private static func blocks(_ content: String?) -> [ArraySlice<UInt8>?] {
    let bytes = Array((content ?? "").utf8)
    return stride(from: 0, to: bytes.count, by: 65536).map { start in
      let block = bytes[start..<min(bytes.count, start + 65536)]
      return block.allSatisfy { $0 == 0 } ? nil : block
    }
  }
}

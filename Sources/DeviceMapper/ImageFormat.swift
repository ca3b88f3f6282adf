/// Formats of files that hold a disk in a form of their own, so that their bytes are not the disk's. Marks are those of the formats' own
/// documents: qemu's docs/interop/qcow2.txt, VMware's Virtual Disk Format 5.0, Microsoft's VHD and MS-VHDX.
public enum ImageFormat: String, CaseIterable, Sendable {
  case qcow2, vmdk, vhd, vhdx

  private var marks: [[UInt8]] {
    switch self {
    case .qcow2: [Array("QFI".utf8) + [0xfb]]
    case .vmdk: [Array("KDMV".utf8), Array("# Disk DescriptorFile".utf8)]
    case .vhd: [Self.vhdFooter]
    case .vhdx: [Array("vhdxfile".utf8)]
    }
  }

  private static let vhdFooter = Array("conectix".utf8)

  /// - Parameters:
  ///   - start: what a file begins with.
  ///   - end: its last 512 bytes. A VHD of a fixed size is the disk with a footer behind it.
  /// - Returns: nil when nothing known is found.
  public static func find(start: [UInt8], end: [UInt8]) -> ImageFormat? {
    if let format = allCases.first(where: { $0.marks.contains { start.starts(with: $0) } }) { return format }
    return end.starts(with: vhdFooter) ? .vhd : nil
  }
}

import DeviceMapper
import Glibc
import Testing

@testable import Checkpoint

// What stands on the fake kernel's devices, who has them open, and LVM.
extension FakePool {
  /// What a guest reads from the device; nil where a request fails.
  func content(of device: String) -> String? { kernel { Self.content(of: device, $0) } }

  private static func content(of device: String, _ kernel: Kernel) -> String? {
    guard let table = kernel.devices[device]?.table, let line = table.first else { return nil }
    if let thin = line.thinVolume, let own = kernel.contents[thin.id] {
      // A volume that was never written to shows its origin.
      guard own.isEmpty, let origin = thin.origin, let old = name(of: origin, kernel) else { return own }
      return content(of: old, kernel)
    }
    if line.type == "linear" {
      return under(line, kernel).map { content(of: $0, kernel) } ?? kernel.raw[line.parameters]
    }
    return nil
  }

  private static func name(of number: DeviceNumber, _ kernel: Kernel) -> String? {
    kernel.devices.first { $0.value.number == number }?.key
  }

  /// The device that a linear line shows; nil when it is none of these.
  private static func under(_ line: Target, _ kernel: Kernel) -> String? {
    line.parameters.split(separator: " ").first.flatMap { DeviceNumber($0) }.flatMap { name(of: $0, kernel) }
  }

  func write(_ content: String, to device: String) { kernel { Self.write(content, to: device, &$0) } }

  private static func write(_ content: String, to device: String, _ kernel: inout Kernel) {
    guard let line = kernel.devices[device]?.table.first else { return }
    if let id = line.thinVolume?.id { kernel.contents[id] = content }
    guard line.type == "linear" else { return }
    if let below = under(line, kernel) {
      write(content, to: below, &kernel)
    } else {
      kernel.raw[line.parameters] = content
    }
  }

  /// Devices that a table uses are open as well.
  static func openCount(_ device: String, _ kernel: Kernel) -> Int {
    guard let this = kernel.devices[device] else { return 0 }
    let above = kernel.devices.values.filter { other in
      other.table.contains { $0.parameters.split(separator: " ").contains { DeviceNumber($0) == this.number } }
    }
    return this.openCount + above.count + (this.isOpen && kernel.showsOpen ? 1 : 0)
  }

  func swapLive(_ device: String, to table: [Target], flushing old: String) throws -> UInt64 {
    _ = try look { kernel in #expect(kernel.devices[old] != nil) }
    // Killed in the middle it leaves the device held, with the new table loaded.
    try change { kernel in
      kernel.devices[device]?.suspended = true
      kernel.devices[device]?.inactive = true
    }
    try swapTable(device, to: table)
    return 1000
  }

  func sectorBytes(_ device: String) throws -> Int { try look { $0.sectorBytes[device] ?? 512 } }
  func flushBuffers(_ device: String) throws {}

  func read(_ device: String, parts: [(offset: UInt64, count: Int)]) throws -> [[UInt8]] {
    try look { kernel in [Array((Self.content(of: device, kernel) ?? "").utf8) + [0]] }
  }

  func copyDifferences(
    from source: String, to target: String, bytes: UInt64, progress: (UInt64) -> Void
  ) throws -> UInt64 {
    try change { kernel in
      guard let content = Self.content(of: source, kernel), kernel.devices[target]?.readOnly == false else {
        throw Self.refused(.open, target, EIO)
      }
      Self.write(content, to: target, &kernel)
    }
    progress(bytes)
    return bytes
  }

  func markAsOrigin(_ volume: LogicalVolume) throws { try lvm(volume) { $0.marked.insert("\(volume)") } }
  func unmarkAsOrigin(_ volume: LogicalVolume) throws { try lvm(volume) { $0.marked.remove("\(volume)") } }

  func knowsVolume(ofDevice uuid: String) throws -> Bool {
    try look { kernel in
      if kernel.refuseLVM { throw CheckpointError.tool(command: "lvs", status: 5, message: "no answer") }
      return kernel.volumes.values.contains { $0.device.uuid == uuid }
    }
  }

  func removePoolVolume(_ volume: LogicalVolume) throws -> Bool {
    try change { $0.poolVolumes.remove("\(volume)") != nil }
  }

  func activate(_ volume: LogicalVolume) throws {
    try lvm(volume) { kernel in
      guard let (name, device) = kernel.volumes["\(volume)"], kernel.devices[name] == nil else { return }
      kernel.devices[name] = device
      // After a boot it is another one.
      kernel.devices[name]?.number.minor = 1000 + kernel.nextMinor
      kernel.nextMinor += 1
    }
  }

  func deactivate(_ volume: LogicalVolume) throws {
    try lvm(volume) { kernel in
      if let name = kernel.volumes["\(volume)"]?.name, kernel.devices[name]?.openCount == 0 {
        kernel.devices[name] = nil
      }
    }
  }

  private func lvm(_ volume: LogicalVolume, _ body: (inout Kernel) -> Void) throws {
    try change { kernel in
      if kernel.refuseLVM || kernel.volumes["\(volume)"] == nil {
        throw CheckpointError.tool(command: "lvchange", status: 5, message: "no such volume")
      }
      body(&kernel)
    }
  }
}

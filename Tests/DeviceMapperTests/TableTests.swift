import Testing

@testable import DeviceMapper

struct TableTests {
  @Test func lines() {
    let (pool, data) = (DeviceNumber(major: 253, minor: 1), DeviceNumber(major: 254, minor: 0))
    #expect(
      Target.thinPool(
        metadata: DeviceNumber(major: 254, minor: 16), data: data, dataSectors: 20_971_520, blockSectors: 128,
        lowWaterBlocks: 1024
      ).description == "0 20971520 thin-pool 254:16 254:0 128 1024")
    #expect(
      Target.thin(pool: pool, id: 16_777_215, sectors: 2048).description == "0 2048 thin 253:1 16777215")
  }

  @Test func thinVolumeOfALine() throws {
    let line = Target.thin(pool: DeviceNumber(major: 253, minor: 1), id: 7, sectors: 8)
    let volume = try #require(line.thinVolume)
    #expect(volume.pool == DeviceNumber(major: 253, minor: 1))
    #expect(volume.id == 7)
    #expect(volume.origin == nil)
  }

  @Test func aThinLineMayHaveAnExternalOrigin() throws {
    let (pool, old) = (DeviceNumber(major: 253, minor: 1), DeviceNumber(major: 253, minor: 2))
    let line = Target.thin(pool: pool, id: 7, sectors: 8, origin: old)
    #expect(line.description == "0 8 thin 253:1 7 253:2")
    #expect(line.thinVolume?.origin == old)
    #expect(Target.linear(over: old, sectors: 8).description == "0 8 linear 253:2 0")
  }

  @Test(arguments: [
    Target(sectors: 8, type: "linear", parameters: "253:1 7"),
    Target(sectors: 8, type: "thin", parameters: "253:1"),
    Target(sectors: 8, type: "thin", parameters: "253:1 7 253:2 9"),
    Target(sectors: 8, type: "thin", parameters: "253:1 7 /dev/x"),
    Target(sectors: 8, type: "thin", parameters: "/dev/x 7"),
  ])
  func otherLinesAreNoVolumesOfOurs(line: Target) {
    #expect(line.thinVolume == nil)
  }

  /// The kernel prints a pool's features behind what we gave.
  @Test func poolDevicesOfALine() throws {
    let line = Target(sectors: 8, type: "thin-pool", parameters: "254:48 254:32 128 3276 0 ")
    let devices = try #require(line.poolDevices)
    #expect(devices.metadata == DeviceNumber(major: 254, minor: 48))
    #expect(devices.data == DeviceNumber(major: 254, minor: 32))
  }

  @Test func aPoolThatTheKernelPrintsIsTheOneThatItWasGiven() {
    let given = Target(sectors: 8, type: "thin-pool", parameters: "254:48 254:32 128 3276")
    for features in ["", " 0 ", " 1 skip_block_zeroing"] {
      #expect(Target(sectors: 8, type: "thin-pool", parameters: given.parameters + features).isWhatBecame(of: given))
    }
    #expect(!Target(sectors: 16, type: "thin-pool", parameters: "254:48 254:32 128 3276 0 ").isWhatBecame(of: given))
    #expect(!Target(sectors: 8, type: "thin-pool", parameters: "254:48 254:32 128 32760 0 ").isWhatBecame(of: given))
    let thin = Target(sectors: 8, type: "thin", parameters: "253:1 7")
    #expect(thin.isWhatBecame(of: thin))
    #expect(!Target(sectors: 8, type: "thin", parameters: "253:1 7 253:2").isWhatBecame(of: thin))
  }

  @Test(arguments: ["254", "254:", ":1", "254:1:2", "a:b", "-1:2", "254: 1"])
  func badDeviceNumbers(text: String) { #expect(DeviceNumber(text) == nil) }

  @Test(arguments: ["web", "web-1", "0", "a--b"])
  func goodNames(name: String) throws { try DeviceName.check(name) }

  @Test(arguments: [
    "", "-web", "Web", "web_1", "web/1", "web 1", "wéb", "web\0", String(repeating: "a", count: 97),
  ])
  func badNames(name: String) {
    #expect(throws: DeviceMapperError.self) { try DeviceName.check(name) }
  }
}

struct SignatureTests {
  @Test(arguments: [
    (32, [0xba, 0x52, 0x9c, 0x01, 0, 0, 0, 0], DeviceSignature.thinMetadata),
    (512, Array("LABELONE".utf8), .lvm),
    (0x438, [0x53, 0xef], .ext), (0, Array("XFSB".utf8), .xfs), (510, [0x55, 0xaa], .partitionTable),
    (4086, Array("SWAPSPACE2".utf8), .swap), (0x10040, Array("_BHRfS_M".utf8), .btrfs),
  ])
  func found(offset: Int, mark: [UInt8], signature: DeviceSignature) {
    var start = [UInt8](repeating: 0, count: DeviceSignature.length)
    #expect(DeviceSignature.find(in: start) == nil)
    start.replaceSubrange(offset..<offset + mark.count, with: mark)
    #expect(DeviceSignature.find(in: start) == signature)
  }

  /// A device shorter than the last mark.
  @Test func shortDevice() { #expect(DeviceSignature.find(in: [UInt8](repeating: 0, count: 4096)) == nil) }
}

struct ImageFormatTests {
  @Test(arguments: [
    ("QFI\u{fb}", ImageFormat.qcow2), ("KDMV", .vmdk), ("# Disk DescriptorFile\nversion=1", .vmdk), ("conectix", .vhd),
    ("vhdxfile", .vhdx),
  ])
  func found(mark: String, format: ImageFormat) {
    let start = mark.unicodeScalars.map { UInt8($0.value) } + [UInt8](repeating: 0, count: 100)
    #expect(ImageFormat.find(start: start, end: []) == format)
    #expect(ImageFormat.find(start: [0] + start, end: [0] + start) == nil)
  }

  /// Its disk begins as any raw one does.
  @Test func aVHDOfAFixedSizeIsKnownByItsEnd() {
    let start = [UInt8](repeating: 0, count: 4096)
    #expect(ImageFormat.find(start: start, end: Array("conectix".utf8) + start) == .vhd)
    #expect(ImageFormat.find(start: start, end: start) == nil)
  }
}

struct ErrorTextTests {
  @Test(arguments: [
    (
      DeviceMapperError.targetMissing(target: "thin-pool", module: "dm_thin_pool"),
      "device-mapper: target thin-pool missing; run: modprobe dm_thin_pool"
    ),
    (
      .failed(.resume, device: "ckpt-web-xvda", errno: 5, detail: "", left: .suspended),
      "device-mapper: resume of ckpt-web-xvda failed: Input/output error; THE DEVICE IS STILL SUSPENDED"
    ),
    (
      .failed(.message, device: "ckpt-p-pool", errno: 17, detail: "create_snap 3 1", left: .unchanged),
      "device-mapper: message of ckpt-p-pool failed: File exists (create_snap 3 1); nothing was changed"
    ),
  ])
  func texts(error: DeviceMapperError, text: String) { #expect(error.description == text) }
}

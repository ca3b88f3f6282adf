import MigrationStream
import Testing

struct XLConfigTests {
  /// Shaped as `xl list -l` prints it; values that a Double would round.
  static let config = #"""
    {"c_info": {"type": "pvh", "name": "web/1", "domid": 7, "uuid": "2d0a44de-0000-4000-8000-5b9c1f2e3d4c",
      "hap": "True", "run_hotplug_scripts": "<default>", "xsdata": {}, "driver_domain": null},
     "b_info": {"max_vcpus": 2, "avail_vcpus": [0, 1], "max_memkb": 1048576, "target_memkb": 524288,
      "shadow_memkb": 18446744073709551615, "video_memkb": 9007199254740993, "sched_params": {"cap": -1},
      "cmdline": "root=/dev/xvda \"q\" ü", "claim_mode": true, "type.pvh": {"pvshim_cmdline": ""}},
     "disks": [
      {"pdev_path": "/dev/mapper/web", "vdev": "xvda", "backend": "phy", "format": "raw", "readwrite": 1},
      {"pdev_path": "/srv/tools.iso", "vdev": "xvdc", "backend": "qdisk", "format": "raw", "is_cdrom": 1, "removable": 1},
      {"vdev": "xvdd", "format": "empty", "is_cdrom": 1, "backend_domid": 3, "backend_domname": "storage"}],
     "nics": [{"devid": 0, "mac": "00:16:3e:11:22:33", "bridge": "br0", "ifname": "vif7.0"},
      {"devid": 1, "mac": "00:16:3e:11:22:34"}],
     "on_reboot": "restart"}
    """#
  static let list = Array(#"[{"domid": 0, "config": {}}, {"domid": 7, "config": \#(config)}]"#.utf8)

  @Test func fieldsOfOneGuestOutOfTheList() throws {
    let config = try XLConfig(list: Self.list, domid: 7)
    #expect(config.type == .pvh)
    #expect(config.name == "web/1")
    #expect(config.uuid == "2d0a44de-0000-4000-8000-5b9c1f2e3d4c")
    #expect((config.maximumVCPUs, config.targetKiB, config.maximumKiB) == (2, 524_288, 1_048_576))
    #expect(!config.hasPCIDevices && !config.hasUSBDevices && !config.hasVNUMA)
    let disks = config.disks
    #expect(disks.map(\.vdev) == ["xvda", "xvdc", "xvdd"])
    #expect(disks.map(\.path) == ["/dev/mapper/web", "/srv/tools.iso", nil])
    #expect(disks.map(\.isWritable) == [true, false, false])
    #expect(disks.map(\.isCDROM) == [false, true, true])
    #expect(disks.map(\.backend) == ["phy", "qdisk", nil])
    #expect(disks.map(\.format) == ["raw", "raw", "empty"])
    #expect(disks.map(\.backendDomid) == [0, 0, 3])
    #expect(disks.map(\.backendName) == [nil, nil, "storage"])
  }

  @Test func encodedKeepsEveryValueButTheDomid() throws {
    let config = try XLConfig(list: Self.list, domid: 7)
    let encoded = config.encoded()
    #expect(!encoded.contains(0))
    let text = String(decoding: encoded, as: UTF8.self)
    for exact in [
      #""shadow_memkb":18446744073709551615"#, #""video_memkb":9007199254740993"#, #""cap":-1"#,
      #""claim_mode":true"#, #""driver_domain":null"#, #""pdev_path":"/dev/mapper/web""#,
      #""cmdline":"root=/dev/xvda \"q\" ü""#, #""readwrite":1"#, #""avail_vcpus":[0,1]"#,
    ] { #expect(text.contains(exact), "\(exact) in \(text)") }
    #expect(!text.contains("\"domid\""))

    var expected = try JSONValue(parsing: Array(Self.config.utf8))
    expected["c_info"]?["domid"] = nil
    #expect(try JSONValue(parsing: encoded) == expected)
    #expect(try XLConfig(json: encoded) == config)
  }

  @Test func devicesThatForbidACheckpointAreSeen() throws {
    var json = try JSONValue(parsing: Array(Self.config.utf8))
    json["pcidevs"] = .array([.object([:])])
    json["usbdevs"] = .array([])
    json["b_info"]?["vnuma_nodes"] = .array([.object([:])])
    let config = try XLConfig(json: json.encoded())
    #expect(config.hasPCIDevices && !config.hasUSBDevices && config.hasVNUMA)
  }

  @Test func theImageOfAGuestThatBalloonedFitsIntoWhatRestoreAllows() throws {
    var config = try XLConfig(json: Array(Self.config.utf8))
    config.raiseTarget(toKiB: 4)
    #expect((config.targetKiB, config.maximumKiB) == (524_288, 1_048_576))
    config.raiseTarget(toKiB: 600_000)
    #expect((config.targetKiB, config.maximumKiB) == (600_000, 1_048_576))
    config.raiseTarget(toKiB: 2_000_000)
    let read = try XLConfig(json: config.encoded())
    #expect((read.targetKiB, read.maximumKiB) == (2_000_000, 2_000_000))
  }

  @Test func aCloneSharesNothingThatTwoGuestsCannotShare() throws {
    var config = try XLConfig(json: Array(Self.config.utf8))
    #expect(config.interfaceCount == 2 && config.obstacleToClone == nil)
    try config.becomeClone(
      name: "copy", uuid: "0a0a44de-0000-4000-8000-5b9c1f2e3d4c", macs: ["00:16:3e:00:00:01", "00:16:3e:00:00:02"],
      paths: ["xvda": "/dev/mapper/copy"])
    let read = try XLConfig(json: config.encoded())
    #expect(read == config)
    #expect((read.name, read.uuid) == ("copy", "0a0a44de-0000-4000-8000-5b9c1f2e3d4c"))
    #expect(read.macs == ["00:16:3e:00:00:01", "00:16:3e:00:00:02"])
    #expect(read.disks.map(\.path) == ["/dev/mapper/copy", "/srv/tools.iso", nil])
    // Everything else is the original's.
    var expected = try JSONValue(parsing: Array(Self.config.utf8))
    expected["c_info"]?["domid"] = nil
    expected["c_info"]?["name"] = .string("copy")
    expected["c_info"]?["uuid"] = .string("0a0a44de-0000-4000-8000-5b9c1f2e3d4c")
    expected["nics"] = try JSONValue(
      parsing: Array(
        #"[{"devid":0,"mac":"00:16:3e:00:00:01","bridge":"br0"},{"devid":1,"mac":"00:16:3e:00:00:02"}]"#.utf8))
    var disks = try #require(expected["disks"]?.elements)
    disks[0]["pdev_path"] = .string("/dev/mapper/copy")
    expected["disks"] = .array(disks)
    #expect(try JSONValue(parsing: config.encoded()) == expected)
  }

  @Test func aClonesDisplayIsTheNextThatIsFree() throws {
    var json = try JSONValue(parsing: Array(Self.config.utf8))
    json["vfbs"] = try JSONValue(
      parsing: Array(
        #"[{"devid":0,"vnc":{"enable":"True","listen":"127.0.0.1","display":3}},{"devid":1,"sdl":{}}]"#.utf8))
    var config = try XLConfig(json: json.encoded())
    try config.becomeClone(name: "copy", uuid: "u", macs: ["a", "b"], paths: [:])
    #expect(
      try JSONValue(parsing: config.encoded())["vfbs"]
        == JSONValue(
          parsing: Array(
            #"[{"devid":0,"vnc":{"enable":"True","listen":"127.0.0.1","findunused":"True"}},{"devid":1,"sdl":{}}]"#.utf8
          )))
  }

  @Test func whatCannotBecomeACloneIsNamed() throws {
    var json = try JSONValue(parsing: Array(Self.config.utf8))
    json["channels"] = .array([.object(["connection": .string("socket")])])
    var config = try XLConfig(json: json.encoded())
    #expect(config.obstacleToClone?.contains("channel") == true)
    #expect(throws: XLConfigError.badField("nics")) {
      try config.becomeClone(name: "copy", uuid: "u", macs: ["a"], paths: [:])
    }
    #expect(throws: XLConfigError.badField("disk xvdz")) {
      try config.becomeClone(name: "copy", uuid: "u", macs: ["a", "b"], paths: ["xvdz": "/dev/x"])
    }
  }

  @Test func whatIsNoConfigIsRefusedByName() {
    let cases: [(String, XLConfigError)] = [
      ("", .notJSON), ("[", .notJSON), ("xl: command not found", .notJSON), ("[]", .noSuchDomain(7)),
      ("{}", .badField("list of domains")), (#"[{"domid": 7}]"#, .badField("config")),
      (#"[{"domid": 7, "config": {"c_info": {"type": "invalid"}}}]"#, .badField("c_info.type")),
      (#"[{"domid": 7, "config": {"c_info": {"type": "pv"}}}]"#, .badField("c_info.name")),
      (
        #"[{"domid":7,"config":{"c_info":{"type":"pv","name":"a","uuid":"b"},"b_info":{"max_vcpus":1,"target_memkb":-1}}}]"#,
        .badField("b_info.target_memkb")
      ),
      (String(repeating: "[", count: 200) + String(repeating: "]", count: 200), .notJSON),
    ]
    for (text, error) in cases {
      #expect(throws: error, "\(text)") { try XLConfig(list: Array(text.utf8), domid: 7) }
    }
  }
}

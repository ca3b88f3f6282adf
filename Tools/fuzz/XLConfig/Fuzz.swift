import MigrationStream
import Support

/// A guest's configuration as xl prints it, which an epoch keeps.
@_cdecl("LLVMFuzzerInitialize")
public func begin(_: UnsafeMutableRawPointer?, _: UnsafeMutableRawPointer?) -> CInt {
  let config = #"""
    {"c_info": {"type": "pvh", "name": "web/1", "domid": 7, "uuid": "2d0a44de-0000-4000-8000-5b9c1f2e3d4c",
      "hap": "True", "driver_domain": null},
     "b_info": {"max_vcpus": 2, "avail_vcpus": [0, 1], "max_memkb": 1048576, "target_memkb": 524288,
      "shadow_memkb": 18446744073709551615, "sched_params": {"cap": -1.5e3}, "cmdline": "a \"q\" ü\u0041"},
     "disks": [{"pdev_path": "/dev/mapper/web", "vdev": "xvda", "backend": "phy", "format": "raw", "readwrite": 1},
      {"vdev": "xvdd", "is_cdrom": true, "backend_domid": 3, "backend_domname": "storage"}],
     "nics": [{"devid": 0, "mac": "00:16:3e:11:22:33"}], "pcidevs": [], "on_reboot": "restart"}
    """#
  Fuzz.offer { [Array(config.utf8), Array(#"[{"domid": 0, "config": {}}, {"domid": 7, "config": \#(config)}]"#.utf8)] }
  return 0
}

@_cdecl("LLVMFuzzerTestOneInput")
public func run(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  let text = Fuzz.bytes(data, count)
  for config in [try? XLConfig(json: text), try? XLConfig(list: text, domid: 7)] {
    guard let config else { continue }
    _ = (config.hasPCIDevices, config.hasUSBDevices, config.hasVNUMA)
    let encoded = config.encoded()
    Fuzz.expect(!encoded.contains(0), "the xl header ends at the first NUL")
    Fuzz.expect((try? XLConfig(json: encoded)) == config, "written and read again it is another")
  }
  return 0
}

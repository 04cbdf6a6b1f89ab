"""Known storage provisioners, and the access modes of their volumes.

Access modes are the drivers' own statements, in Kubernetes' list of volume types and in the
drivers' documentation: https://kubernetes.io/docs/concepts/storage/persistent-volumes/#access-modes
"""

from __future__ import annotations

SHARED = (
    "beegfs.csi.netapp.com",
    "blob.csi.azure.com",
    "cephfs.csi.ceph.com",
    "csi.juicefs.com",
    "driver.longhorn.io",
    "efs.csi.aws.com",
    "file.csi.azure.com",
    "filestore.csi.storage.gke.io",
    "fsx.csi.aws.com",
    "k8s-sigs.io/nfs-subdir-external-provisioner",
    "kubernetes.io/azure-file",
    "lustre.csi.storage.gke.io",
    "nfs.csi.k8s.io",
    "smb.csi.k8s.io",
)
"""Many nodes may write one volume: ReadWriteMany."""

DISKS = (
    "disk.csi.azure.com",
    "ebs.csi.aws.com",
    "ebs.csi.eks.amazonaws.com",
    "kubernetes.io/aws-ebs",
    "kubernetes.io/azure-disk",
    "kubernetes.io/gce-pd",
    "pd.csi.storage.gke.io",
)
"""Disks of a cloud: one node at a time, and each in one zone."""

ONE_NODE = (
    *DISKS,
    "cinder.csi.openstack.org",
    "csi.hetzner.cloud",
    "csi.vultr.com",
    "dobs.csi.digitalocean.com",
    "linodebs.csi.linode.com",
    "openebs.io/local",
    "rancher.io/local-path",
    "rbd.csi.ceph.com",
    "topolvm.io",
)
"""ReadWriteOnce only."""


def is_shared(provisioner: str) -> bool | None:
    """Whether its volumes can be ReadWriteMany; None: not known here.

    Rook puts its namespace before the driver's name.
    """
    if provisioner.endswith(SHARED):
        return True
    return False if provisioner.endswith(ONE_NODE) else None

"""Expressions for names of `torch.Tensor`, torch, torch.nn.functional and their kin."""

from __future__ import annotations

ONE = "w.flatten()[:1]"
"""One value of the weight."""

TENSORS: dict[str, tuple[str, ...]] = {
    # Python's protocols
    "Tensor.__array_wrap__": ("w.__array_wrap__(np.zeros(3))",),
    "Tensor.__bool__ Tensor.__nonzero__": ("bool(w)", f"bool({ONE})"),
    "Tensor.__complex__": (f"complex({ONE})", "complex(w)"),
    "Tensor.__float__": (f"float({ONE})", "float(w)"),
    "Tensor.__int__ Tensor.__long__": (f"int({ONE})", "int(w)"),
    "Tensor.__index__ operator.index": (f"operator.index({ONE})",),
    "Tensor.__deepcopy__": ("copy.deepcopy(w)", "copy.copy(w)", "copy.deepcopy([w, w])"),
    "Tensor.__format__": ("len(f'{w}') > 0", f"f'{{{ONE}.sum():.3f}}'"),
    "Tensor.__delitem__ operator.delitem": ("w.__delitem__(0)",),
    "Tensor.__setitem__ operator.setitem": (
        *(
            "w.__setitem__(0, 0.5)",
            "w.__setitem__((slice(None), 1), 0.5)",
            "w.__setitem__(k, 0.5)",
            "w.__setitem__(..., o)",
        ),
        *("w.__setitem__(i, o[:2])", "w.__setitem__(slice(None), o)", "w.__setitem__(slice(1, 3), o[1:3])"),
        *(
            "o.__setitem__(slice(None), w)",
            "o.__setitem__(slice(0, 2), w[:2])",
            "o.__setitem__(0, w[1])",
            "w.__setitem__(0, w[1])",
        ),
    ),
    "Tensor.__getitem__ operator.getitem": (
        *(
            "w[0]",
            "w[-1]",
            "w[1:3]",
            "w[::2]",
            "w[:, 1]",
            "w[..., 1:3]",
            "w[i]",
            "w[k]",
            "w[None]",
            "w[i, i]",
            "w[0][1]",
            "w[:2, :2]",
        ),
        *("w[True]", "w[[0, 2]]", "w[:, i]", "w[()]", "w[...]", "w[100000]", "w[:0]", "o[w.argmax() * 0]"),
    ),
    "Tensor.__reduce__ Tensor.__reduce_ex__ Tensor._reduce_ex_internal": (
        *("pickle.loads(pickle.dumps(w))", "pickle.loads(pickle.dumps(w, 2))", "pickle.loads(pickle.dumps(w, 5))"),
        *(
            "pickle.loads(pickle.dumps([w, w, w.detach()]))",
            "pickle.loads(pickle.dumps(w.mT))",
            "pickle.loads(pickle.dumps(w[1:3]))",
        ),
    ),
    "Tensor.__contains__ operator.contains operator.indexOf": ("0.5 in w", f"{ONE}.item() in w"),
    "Tensor.__dlpack__": (
        *("torch.from_dlpack(w).clone()", "torch.from_dlpack(w.__dlpack__()).clone()", "np.from_dlpack(w).copy()"),
        *("torch.utils.dlpack.from_dlpack(torch.utils.dlpack.to_dlpack(w)).clone()", "torch.from_dlpack(w.mT).clone()"),
        *(
            "torch.from_dlpack(w[1:3]).clone()",
            "torch.from_dlpack(w.data).clone()",
            "torch.from_dlpack(w.view(-1)).clone()",
        ),
        "np.from_dlpack(w.detach()).copy()",
    ),
    "torch.from_dlpack torch.to_dlpack": (
        "torch.from_dlpack(torch.to_dlpack(w)).clone()",
        "torch.from_dlpack(w.detach()).clone()",
    ),
    "Tensor.__torch_function__": ("type(w + 1)",),
    # attributes that can be assigned
    "Tensor.data": (
        *(
            "w.data",
            "setattr(w, 'data', o)",
            "setattr(w, 'data', o.double())",
            "setattr(w, 'data', o[:1])",
            "setattr(w, 'data', w)",
        ),
        *(
            "setattr(o, 'data', w)",
            "setattr(o, 'data', w.data)",
            "setattr(w, 'data', w.data)",
            "setattr(w, 'data', w.detach())",
        ),
        *(
            "setattr(w, 'data', w * 2)",
            "setattr(w, 'data', w.to(torch.float64))",
            "setattr(w, 'data', w.mT)",
            "setattr(w, 'data', o.to('meta'))",
        ),
        *(
            "setattr(w, 'data', torch.empty(0, dtype=w.dtype))",
            "setattr(w, 'data', o.to_sparse())",
            "setattr(w, 'data', o.half())",
        ),
        *(
            "setattr(w.data, 'data', o)",
            "w.data.copy_(o)",
            "w.data.zero_()",
            "w.data.mul_(2)",
            "w.data.normal_()",
            "setattr(w, 'data', o.mT)",
        ),
    ),
    "Tensor.grad Tensor._grad": (
        "w.grad",
        "setattr(w, 'grad', o)",
        "setattr(w, 'grad', None)",
        "setattr(w, 'grad', o[:1])",
    ),
    "Tensor.set_": (
        *(
            "w.set_(o)",
            "w.set_(o.untyped_storage())",
            "o.set_(w)",
            "w.set_()",
            # Not o.set_(w.untyped_storage(), ...): what stands for the weight is a plain storage of one byte that cannot be
            # resized, and the error is torch's own.
        ),
        *("w.set_(o.storage())", "o.set_(w.detach())", "w.data.set_(o)", "o.set_(w.storage())", "o.set_(w.mT)"),
    ),
    "Tensor.requires_grad": ("w.requires_grad",),
    # storage
    "Tensor.as_strided torch.as_strided torch.as_strided_copy": ("{f}(w, (2, 3), (3, 1))", "{f}(w, (2, 3), (3, 1), 4)"),
    "Tensor.as_strided_ torch.as_strided_": ("{f}(w, (2, 3), (3, 1))",),
    "Tensor.as_strided_scatter torch.as_strided_scatter": (
        "{f}(w, o.flatten()[:6].view(2, 3), (2, 3), (3, 1))",
        "{f}(o, w.flatten()[:6].view(2, 3), (2, 3), (3, 1))",
    ),
    "Tensor.as_subclass": ("w.as_subclass(torch.Tensor) + 0", "o.as_subclass(torch.nn.Parameter) + 0"),
    "Tensor.resize Tensor.resize_": (
        "w.resize_(w.shape)",
        "w.resize_(2, 2)",
        "w.resize_(1000, 1000).shape",
        "o.resize_(w.shape)",
    ),
    "Tensor.resize_as_": ("w.resize_as_(o)", "w.resize_as_(o[:1])", "o[:1].clone().resize_as_(w).shape"),
    "Tensor.is_set_to": ("w.is_set_to(w)", "w.is_set_to(o)", "o.is_set_to(w)"),
    "Tensor.share_memory_ Tensor.is_shared": (
        "w.share_memory_()",
        "w.share_memory_().is_shared()",
        "w.is_shared()",
        "w.mT.share_memory_()",
    ),
    # products
    "Tensor.addbmm torch.addbmm Tensor.addbmm_": ("{f}(o[0] @ o[0].mT, w, o.mT)", "{f}(o[0] @ o[0].mT, o, w.mT)"),
    "Tensor.baddbmm torch.baddbmm Tensor.baddbmm_": (
        *(
            "{f}(o @ o.mT, w, o.mT)",
            "{f}(o @ o.mT, o, w.mT)",
            "{f}(w, o @ o.mT, o)",
            "{f}(o @ o.mT, o, w.mT, beta=0.5)",
        ),
    ),
    "Tensor.addmv torch.addmv Tensor.addmv_ torch.addmv_": (
        "{f}(r, w, v)",
        "{f}(v, w.mT, r)",
        "{f}(r, w, v, beta=0.5, alpha=2)",
    ),
    "Tensor.addr torch.addr Tensor.addr_": ("{f}(w, r, v)", "{f}(o, w[:, 0], w[0])", "{f}(o, w[:, 0], v)"),
    "Tensor.dot torch.dot Tensor.vdot torch.vdot": ("{f}(w[0], v)", "{f}(v, w[0])", "{f}(w.flatten(), o.flatten())"),
    "Tensor.ger torch.ger Tensor.outer torch.outer": ("{f}(w[0], r)", "{f}(r, w[0])"),
    "Tensor.sspaddmm Tensor.smm torch.sspaddmm torch.smm torch.saddmm torch.hsmm torch.hspmm": (
        "torch.sparse.mm(o.to_sparse(), w.mT)",
        "torch.sparse.addmm(o @ o.mT, o.to_sparse(), w.mT)",
        "torch.smm(o.to_sparse(), w.mT)",
    ),
    "torch.bilinear functional.bilinear": (
        "{f}(x, x, w[:4, None] * o[:1, :, None])",
        "{f}(x, x[:, :1], w[:, :, None], None)",
    ),
    # indices
    "Tensor.index_put torch.index_put Tensor.index_put_ torch.index_put_": (
        *("{f}(w, (i,), o[:2])", "{f}(w, (k,), o[0, 0])", "{f}(o, (i,), w[:2])", "{f}(w, (i,), o[:2], True)"),
    ),
    "Tensor.index_reduce torch.index_reduce Tensor.index_reduce_": (
        "{f}(w, 0, i, o[:2], 'prod')",
        "{f}(o, 0, i, w[:2], 'amax')",
    ),
    "torch.index_add torch.index_copy Tensor.index_add Tensor.index_copy Tensor.index_add_ Tensor.index_copy_": (
        *("{f}(w, 0, i, o[:2])", "{f}(o, 0, i, w[:2])", "{f}(w, 1, i, o[:, :2])", "{f}(o, 0, i, w[i])"),
    ),
    "torch.index_fill Tensor.index_fill Tensor.index_fill_": ("{f}(w, 0, i, 0.5)", "{f}(w, 1, i, w[0, 0])"),
    "torch.masked_fill": ("{f}(w, k, 0.5)", "{f}(w, k, o.flatten()[0])", "{f}(o, k, w.flatten()[0])"),
    "torch.masked_scatter Tensor.masked_scatter Tensor.masked_scatter_": ("{f}(w, k, o)", "{f}(o, k, w)"),
    "Tensor.put torch.put Tensor.put_": ("{f}(w, i, o.flatten()[:2])", "{f}(o, i, w.flatten()[:2])"),
    "torch.scatter torch.scatter_add Tensor.scatter Tensor.scatter_ Tensor.scatter_add Tensor.scatter_add_": (
        *("{f}(w, 0, j, o)", "{f}(o, 0, j, w)", "{f}(w, 1, j, w)"),
    ),
    "torch.scatter_reduce Tensor.scatter_reduce Tensor.scatter_reduce_": (
        "{f}(w, 0, j, o, 'sum')",
        "{f}(o, 0, j, w, 'amax')",
    ),
    "torch.select_scatter Tensor.select_scatter": ("{f}(w, o[0], 0, 1)", "{f}(o, w[0], 0, 1)"),
    "Tensor.nonzero_static torch.nonzero_static": ("{f}(w, size=4)",),
    "Tensor.multinomial torch.multinomial": ("{f}(w.abs(), 2)", "{f}(w, 2)"),
    "Tensor.bincount torch.bincount": ("{f}(w.long().flatten().abs())", "{f}(w)"),
    "torch.meshgrid torch.cartesian_prod torch.combinations torch.vander": (
        *(
            "torch.meshgrid(w[0], w[1], indexing='ij')",
            "torch.cartesian_prod(w[0], w[1])",
            "torch.combinations(w[0])",
            "torch.vander(w[0])",
        ),
    ),
    # shapes
    "Tensor.split_with_sizes torch.split_with_sizes torch.split_with_sizes_copy Tensor.unsafe_split_with_sizes torch.unsafe_split_with_sizes": (
        *("{f}(w, [1, w.shape[0] - 1])", "{f}(w, [2, w.shape[1] - 2], 1)", "{f}(w, [1, 1])"),
    ),
    "Tensor.unflatten torch.unflatten": ("{f}(w, -1, (2, -1))", "{f}(w, 0, (-1, 1))"),
    "torch.permute torch.permute_copy Tensor.permute": (
        "{f}(w, list(range(w.ndim))[::-1])",
        "{f}(w, list(range(w.ndim)))",
    ),
    "Tensor.new_full Tensor.new_empty_strided": (
        "w.new_full((2, 2), 0.5)",
        "w.new_empty_strided((2, 2), (1, 2)).shape",
    ),
    "Tensor.new": ("w.new().shape", "w.new(2, 3).shape", "w.new([1, 2])", "w.new(o)", "w.new(w)"),
    "Tensor.to_padded_tensor Tensor._nested_tensor_size Tensor._nested_tensor_storage_offsets Tensor._nested_tensor_strides": (
        *(
            "torch.nested.nested_tensor([w, w[:2]]).to_padded_tensor(0.0)",
            "torch.nested.as_nested_tensor([w, o]).to_padded_tensor(0.0)",
        ),
        "torch.nested.as_nested_tensor(w).to_padded_tensor(0.0)",
    ),
    # calls back into Python, gradients
    "Tensor.apply_ Tensor.map_ Tensor.map2_": (
        "w.apply_(abs)",
        "w.map_(o, lambda a, b: a + b)",
        "w.map2_(o, o, max)",
    ),
    "Tensor.backward": ("w.sum().backward()", "grad_of(w)", "grad_of(w.mT)"),
    "Tensor.register_hook Tensor.register_post_accumulate_grad_hook": ("w.register_hook(abs)",),
    "Tensor.reinforce Tensor.retain_grad": ("w.retain_grad()",),
    # values of few kinds
    "Tensor.is_nonzero torch.is_nonzero Tensor.item": ("{f}(w.flatten()[:1])", "{f}(w)"),
    "Tensor.imag torch.imag torch.view_as_real torch.view_as_real_copy": (
        "{f}(torch.complex(w, o))",
        "{f}(torch.complex(o, w))",
        "{f}(w)",
    ),
    "torch.view_as_complex torch.view_as_complex_copy": ("{f}(w.unflatten(-1, (-1, 2)))", "{f}(w)"),
    "Tensor._conj Tensor._indices Tensor._values Tensor._nnz Tensor._dimI Tensor._dimV Tensor.indices Tensor.values Tensor.coalesce": (
        *("{f}(w)", "{f}(w.to_sparse())"),
    ),
    "Tensor.is_coalesced Tensor._coalesced_ Tensor.crow_indices Tensor.col_indices Tensor.ccol_indices Tensor.row_indices": (
        *("{f}(w)", "{f}(w.to_sparse_csr())"),
    ),
    "torch.indices_copy torch.values_copy torch.crow_indices_copy torch.col_indices_copy torch.ccol_indices_copy torch.row_indices_copy": (
        *("{f}(w)", "{f}(w.to_sparse())"),
    ),
    "Tensor.sparse_mask Tensor._sparse_mask_projection": (
        "w.sparse_mask(o.to_sparse())",
        "o.sparse_mask(w.to_sparse())",
    ),
    "Tensor.sparse_resize_ Tensor.sparse_resize_and_clear_ Tensor.resize_as_sparse_ torch.resize_as_sparse_": (
        "w.to_sparse().sparse_resize_and_clear_(w.shape, 2, 0)",
    ),
    "Tensor._to_dense": ("w._to_dense()", "w.to_sparse()._to_dense()", "w.to_mkldnn().to_dense()"),
    "torch.sparse_bsc_tensor torch.sparse_bsr_tensor torch.sparse_compressed_tensor torch.sparse_coo_tensor": (
        *("torch.sparse_coo_tensor(i[None], w[:2])", "w.to_sparse_csr().to_dense()", "w.to_sparse().to_dense()"),
    ),
    "Tensor._is_all_true Tensor._is_any_true": ("{f}(w > 0)", "{f}(w)"),
    "Tensor.int_repr torch.int_repr Tensor.q_scale torch.q_scale Tensor.q_zero_point torch.q_zero_point Tensor.qscheme": (
        *("{f}(w)", "{f}(torch.quantize_per_tensor(w, 0.01, 0, torch.qint8))"),
    ),
    "Tensor.q_per_channel_axis Tensor.q_per_channel_scales Tensor.q_per_channel_zero_points": ("{f}(w)",),
    "torch.q_per_channel_axis torch.q_per_channel_scales torch.q_per_channel_zero_points": ("{f}(w)",),
    "torch.quantize_per_channel torch.quantize_per_tensor torch.quantize_per_tensor_dynamic": (
        *(
            "torch.quantize_per_tensor(w, 0.01, 0, torch.qint8)",
            "torch.quantize_per_tensor_dynamic(w, torch.qint8, False)",
        ),
        "torch.quantize_per_channel(w, torch.ones(len(w)), torch.zeros(len(w)), 0, torch.qint8)",
    ),
    "torch.fake_quantize_per_channel_affine torch.fake_quantize_per_tensor_affine": (
        *("torch.fake_quantize_per_tensor_affine(w, 0.01, 0, -8, 7)",),
        "torch.fake_quantize_per_channel_affine(w, torch.ones(len(w)) * 0.01, torch.zeros(len(w)), 0, -8, 7)",
    ),
    "torch.choose_qparams_optimized": ("torch.choose_qparams_optimized(w, w.numel(), 200, 0.16, 8)",),
    "Tensor._autocast_to_full_precision Tensor._autocast_to_reduced_precision": (
        "w._autocast_to_full_precision(False, True)",
    ),
    "Tensor._philox_normal_ Tensor._philox_uniform_ Tensor.float_power_": ("{f}(w, 2)", "{f}(o, w)"),
    "Tensor.polygamma_ torch.polygamma special.polygamma Tensor.polygamma": ("torch.polygamma(1, w)", "w.polygamma(1)"),
    "torch.scalar_tensor": (f"torch.scalar_tensor({ONE})",),
    "Tensor.stft torch.stft Tensor.istft torch.istft": ("torch.stft(w.flatten()[:64], 16, return_complex=True)",),
    "torch.renorm": ("torch.renorm(w, 2, 0, 0.1)",),
    "torch.segment_reduce": ("torch.segment_reduce(w[:, 0], 'sum', lengths=torch.tensor([1, len(w) - 1]))",),
    "torch.poisson torch.poisson_nll_loss": (
        "torch.poisson(w.abs())",
        "torch.poisson_nll_loss(w, o, True, False, 1e-8, 1)",
    ),
    # linear algebra
    "Tensor.cholesky torch.cholesky linalg.cholesky": (
        "{f}(w @ w.mT + torch.eye(w.shape[-2], dtype=w.dtype))",
        "{f}(w)",
    ),
    "torch.lu_solve Tensor.lu_solve linalg.lu_solve linalg.ldl_solve": (
        "torch.linalg.lu_solve(*torch.linalg.lu_factor(w), o)",
    ),
    "torch.lu_unpack": ("torch.lu_unpack(*torch.linalg.lu_factor(w))",),
    "linalg.solve_triangular": (
        "torch.linalg.solve_triangular(w, o, upper=True)",
        "torch.linalg.solve_triangular(o, w, upper=False)",
    ),
    "torch.ormqr Tensor.ormqr": ("torch.ormqr(w, r[: min(w.shape)], o)",),
    "torch.lobpcg": ("torch.lobpcg(w @ w.mT, 1)",),
    "operator.call": ("operator.call(w.sum)",),
    "operator.concat operator.iconcat": ("{f}(w, o)",),
}

"""Expressions for functions of torch and torch.nn.functional that layers are made of."""

from __future__ import annotations

LAYERS: dict[str, tuple[str, ...]] = {
    "torch.alpha_dropout torch.dropout torch.feature_dropout torch.feature_alpha_dropout": (
        "{f}(w, 0.5, True)",
        "{f}(w, 0.5, False)",
    ),
    "torch.alpha_dropout_ torch.dropout_ torch.feature_dropout_ torch.feature_alpha_dropout_": (
        "{f}(w, 0.5, True)",
        "{f}(w, 0.5, False)",
    ),
    "torch.native_dropout": ("{f}(w, 0.5, True)",),
    "torch.batch_norm torch.instance_norm": (
        "{f}(w, None, None, None, None, True, 0.1, 1e-5, False)",
        "{f}(x, w[0], w[0], w[1], w[2], False, 0.1, 1e-5, False)",
    ),
    "torch.native_batch_norm functional.batch_norm": (
        "F.batch_norm(w, v, v.abs())",
        "F.batch_norm(x, w[0], w[1].abs())",
        "F.batch_norm(x, w[0], w[1], training=True)",
    ),
    "torch.native_norm torch.native_layer_norm torch.native_group_norm": (
        "torch.native_norm(w)",
        "torch.native_layer_norm(w, w.shape[-1:], w[0], w[1], 1e-5)",
    ),
    "functional.layer_norm torch.layer_norm functional.rms_norm torch.rms_norm": (
        "{f}(w, w.shape[-1:])",
        "{f}(x, w.shape[-1:], w[0])",
        "{f}(w, w.shape, w)",
    ),
    "torch.conv3d functional.conv3d": ("{f}(x[None, :, None], w[None, :, None])",),
    "functional.conv2d torch.conv2d torch.convolution torch.mkldnn_convolution": (
        *(
            "F.conv2d(x, w)",
            "F.conv2d(x, w, stride=2, padding=1)",
            "F.conv2d(x, w, r)",
            "F.conv2d(x, w, padding='same')",
        ),
        *(
            "torch.convolution(x, w, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1)",
            "F.conv2d(w, w[:2])",
            "F.conv2d(x[..., None, None], w[..., None, None])",
        ),
    ),
    "functional.conv_tbc torch.conv_tbc": ("{f}(x[:, None], w.mT[None], r)",),
    "torch.conv_transpose1d functional.conv_transpose1d": ("{f}(w, w[0, :, None, None])", "{f}(x, w[..., None])"),
    "torch.conv_transpose2d functional.conv_transpose2d": (
        "{f}(x.transpose(0, 1)[:, :1] * 0 + 1, w[:1])",
        "{f}(torch.ones(1, w.shape[0], 3, 3), w)",
    ),
    "torch.cosine_embedding_loss functional.cosine_embedding_loss": ("{f}(w, o, torch.ones(w.shape[0]))",),
    "torch.ctc_loss functional.ctc_loss": (
        "F.ctc_loss(w[:, None].log_softmax(-1), i[None] + 1, torch.tensor([len(w)]), torch.tensor([2]))",
    ),
    "functional.embedding torch.embedding": (
        *(
            "F.embedding(i, w)",
            "F.embedding(x, w)",
            "F.embedding(i, w, padding_idx=0)",
            "F.embedding(i, w, max_norm=0.1)",
            "F.embedding(i, o, max_norm=0.1)",
        ),
        *(
            "torch.embedding(w, i)",
            "F.embedding(i, w, scale_grad_by_freq=True, sparse=True)",
            "F.embedding(i, w.data)",
            "F.embedding(w, o)",
        ),
    ),
    "torch.embedding_bag functional.embedding_bag": (
        *(
            "F.embedding_bag(i[None], w)",
            "F.embedding_bag(i, w, torch.tensor([0, 1]), mode='max')",
            "F.embedding_bag(i[None], w, max_norm=0.1)",
        ),
        "F.embedding_bag(i[None], w, mode='sum', per_sample_weights=torch.ones(1, 2))",
    ),
    "torch.embedding_renorm_": ("torch.embedding_renorm_(w, i, 0.1, 2.0)",),
    "torch.fbgemm_linear_fp16_weight torch.fbgemm_linear_fp16_weight_fp32_activation torch.fbgemm_pack_gemm_matrix_fp16": (
        "packed(w)",
        "packed(w.mT)",
    ),
    "torch.fbgemm_linear_int8_weight torch.fbgemm_linear_int8_weight_fp32_activation torch.fbgemm_linear_quantize_weight": (
        "torch.fbgemm_linear_quantize_weight(w)[0]",
    ),
    "torch.grid_sampler torch.grid_sampler_2d torch.grid_sampler_3d functional.grid_sample": (
        *(
            "torch.grid_sampler(w[None, None], torch.zeros(1, 2, 2, 2), 0, 0, True)",
            "F.grid_sample(w[None, :, :, None], torch.zeros(1, 2, 2, 2))",
        ),
    ),
    "torch.affine_grid_generator functional.affine_grid": ("F.affine_grid(w[:2, :3][None], (1, 1, 2, 2))",),
    "torch.gru_cell torch.lstm_cell torch.rnn_tanh_cell torch.rnn_relu_cell": (
        *("torch.rnn_tanh_cell(x, x @ w.mT, w, w @ w.mT)", "torch.rnn_relu_cell(x, x @ o.mT, w, o @ o.mT)"),
    ),
    "torch.gru torch.lstm torch.rnn_tanh torch.rnn_relu": (
        "torch.rnn_tanh(x[None], torch.zeros(1, x.shape[0], len(w)), [w, o @ o.mT], False, 1, 0.0, False, False, False)",
        "torch.rnn_tanh(x[None], torch.zeros(1, x.shape[0], len(w)), [w, w @ w.mT], False, 1, 0.0, False, False, False)",
    ),
    "torch.mkldnn_adaptive_avg_pool2d torch.mkldnn_linear_backward_weights torch.mkldnn_max_pool2d torch.mkldnn_max_pool3d": (
        "w.to_mkldnn().to_dense()",
        "torch.mkldnn_max_pool2d(w[None, None].to_mkldnn(), 2).to_dense()",
    ),
    "Tensor.to_mkldnn": ("w.to_mkldnn().to_dense()", "w.to_mkldnn()", "w.mT.to_mkldnn()"),
    "functional.binary_cross_entropy": ("{f}(w.sigmoid(), o.sigmoid())", "{f}(o.sigmoid(), o.sigmoid(), weight=w)"),
    "functional.fold": ("{f}(w[None], (4, 4), (1, 1))", "{f}(w.mT[None], (5, len(w) // 5), (1, 1))"),
    "functional.gaussian_nll_loss": ("{f}(w, o, o.abs())", "{f}(o, w, w.abs())"),
    "functional.max_unpool1d functional.max_unpool2d functional.max_unpool3d": (
        "F.max_unpool1d(*F.max_pool1d(w, 2, return_indices=True), 2)",
    ),
    "functional.multi_head_attention_forward": ("attention(w)",),
    "functional.multi_margin_loss functional.nll_loss functional.cross_entropy": (
        *("{f}(w, torch.zeros(len(w), dtype=torch.long))", "{f}(x, torch.zeros(len(x), dtype=torch.long), w[0])"),
    ),
    "functional.linear": (
        *(
            "F.linear(x, w)",
            "F.linear(x, w, r)",
            "F.linear(x[0], w)",
            "F.linear(w, o)",
            "F.linear(w, w)",
            "F.linear(x, w, w[:, 0])",
            "F.linear(x[None, None], w)",
        ),
        *(
            "F.linear(x.double(), w)",
            "F.linear(x[:, :3], w)",
            "F.linear(x[:0], w)",
            "F.linear(x, w.mT)",
            "F.linear(x, w[1:3])",
            "F.linear(x.half(), w)",
            "F.linear(x, w[0])",
        ),
    ),
    "functional.multilabel_margin_loss": ("{f}(w, torch.zeros(w.shape, dtype=torch.long))",),
    "functional.one_hot": ("{f}(w.long().abs())",),
    "functional.grouped_mm functional.scaled_grouped_mm functional.scaled_mm": (
        "F.grouped_mm(torch.cat(list(x)), w, offs=torch.tensor([2, 4, 6], dtype=torch.int32))",
        "torch._grouped_mm(torch.cat(list(x)), w, offs=torch.tensor([0, 4, 6], dtype=torch.int32))",
        "torch._grouped_mm(torch.cat(list(x)) @ o[0], w.transpose(-2, -1), offs=torch.tensor([0, 4, 6], dtype=torch.int32))",
    ),
}
